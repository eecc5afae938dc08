# cmake -DOUT=x.cc -DHEADER=y.h -DNAMESPACE=a::b -DFUNCTION=Files -DROOT=dir -DFILES="a;b" -P embed.cmake
# Writes a source file that defines `std::span<const EmbeddedFile> NAMESPACE::FUNCTION()` with the bytes of FILES, named from ROOT.
set(arrays "")
set(entries "")
set(index 0)
foreach(file ${FILES})
  file(READ ${file} hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
  file(RELATIVE_PATH name ${ROOT} ${file})
  string(APPEND arrays "constexpr unsigned char kFile${index}[] = {\n${bytes}\n};\n")
  string(APPEND entries "      {\"${name}\", {reinterpret_cast<const char*>(kFile${index}), sizeof(kFile${index})}},\n")
  math(EXPR index "${index} + 1")
endforeach()
file(WRITE ${OUT} "#include \"${HEADER}\"
namespace ${NAMESPACE} {
namespace {
${arrays}}  // namespace
std::span<const EmbeddedFile> ${FUNCTION}() {
  static const EmbeddedFile kFiles[] = {
${entries}  };
  return kFiles;
}
}  // namespace ${NAMESPACE}
")
