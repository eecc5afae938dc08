#!/bin/sh
# The demonstration of `make demo`: looks at the machine, compiles models/tales-16m for it, looks at the engine,
# streams a story from it, and says what to type next. LATHE is the program to use. `machine` measures the
# bandwidth that the last line of the run compares with.
set -eu
cd "$(dirname "$0")/.."

lathe=${LATHE:-build/app/bin/lathe}
model=models/tales-16m
engine=build/demo/tales-16m.lathe

# The command as it would be typed, then its output.
show() {
    printf '\n$ lathe'
    for word in "$@"; do
        case $word in
            *[!A-Za-z0-9_./:=-]*) printf ' "%s"' "$word" ;;
            *) printf ' %s' "$word" ;;
        esac
    done
    printf '\n'
    "$lathe" "$@"
}

if [ ! -x "$lathe" ]; then
    echo "tools/demo.sh: expected the program at $lathe, found nothing; run \"make demo\", or set LATHE" >&2
    exit 1
fi
mkdir -p "$(dirname "$engine")"

show machine
show build "$model" -o "$engine"
show inspect "$engine"
show run "$engine" "Once upon a time there was a" --max-tokens 200 --temperature 0.7 --top-p 0.95 --seed 3 --stats

cat <<TEXT

Type next (lathe is $lathe):
  $lathe chat $engine
  $lathe run $engine "The old fisherman" --max-tokens 100 --temperature 0.8
  $lathe inspect $engine --tuning
  $lathe bench latency $engine
  $lathe build /path/to/a/hugging-face/model -o model.lathe
TEXT
