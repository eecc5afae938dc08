// Each command declares itself below its parent.
#pragma once

#include "flags.h"

namespace lathe::cli {

void AddPull(Command& root);
void AddPush(Command& root);
void AddConvert(Command& root);
void AddBuild(Command& root);
void AddInspect(Command& root);
void AddPlan(Command& root);
void AddRun(Command& root);
void AddChat(Command& root);
void AddServe(Command& root);
void AddKeys(Command& root);
void AddHealth(Command& root);
void AddPackage(Command& root);
void AddDeploy(Command& root);
void AddBenchLatency(Command& bench);
void AddBenchThroughput(Command& bench);
void AddBenchServing(Command& bench);
void AddBenchCompare(Command& bench);
void AddBenchWorker(Command& bench);
void AddEvalPerplexity(Command& eval);
void AddSynth(Command& root);
void AddMachine(Command& root);
void AddDevices(Command& root);
void AddVersion(Command& root);

}  // namespace lathe::cli
