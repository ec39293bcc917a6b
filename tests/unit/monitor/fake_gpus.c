/* NVML and rocm_smi without a GPU: the functions that the monitor calls, with answers from a file.

Each line of the file that FAKE_GPUS names is a name and a number; a missing name is a figure that the GPU does not have:
  gpus N, mig N (instances of GPU 0), error N (of every call but the ones that begin and end a session),
  hang N (seconds of every call), utilization I N, power I N (mW), temperature I N, used I N and total I N (MiB),
  lost I 1, pid I N and pid_used I N (MiB).
Calls that begin and end sessions are written to FAKE_GPUS.log, one character each. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NOT_SUPPORTED 3
#define INSUFFICIENT_SIZE 7
#define GPU_IS_LOST 15
#define MIB ((unsigned long long)1024 * 1024)

static int known(const char *name, int index, long long *value) {
  const char *path = getenv("FAKE_GPUS");
  FILE *file = path ? fopen(path, "r") : NULL;
  char line[200], found[50];
  int of = 0, is_known = 0;
  if (!file) return 0;
  while (!is_known && fgets(line, sizeof line, file)) {
    long long first = 0, second = 0;
    int count = sscanf(line, "%49s %lld %lld", found, &first, &second);
    if (strcmp(found, name)) continue;
    if (index < 0 && count == 2) is_known = 1, *value = first;
    of = (int)first;
    if (index >= 0 && count == 3 && of == index) is_known = 1, *value = second;
  }
  fclose(file);
  return is_known;
}

static long long number(const char *name, int index) {
  long long value = 0;
  known(name, index, &value);
  return value;
}

static void note(char call) {
  char path[4096];
  FILE *file;
  snprintf(path, sizeof path, "%s.log", getenv("FAKE_GPUS") ? getenv("FAKE_GPUS") : "/dev/null");
  if ((file = fopen(path, "a"))) fputc(call, file), fclose(file);
}

static int wrong(void) {
  if (number("hang", -1)) sleep((unsigned)number("hang", -1));
  return (int)number("error", -1);
}

/* A handle is 1000 + the number of the GPU, and for an instance 2000 + its number. */
static int gpu(void *handle) { return (int)((intptr_t)handle % 1000); }
static int is_instance(void *handle) { return (intptr_t)handle >= 2000; }

static int figure(void *handle, const char *name, long long *value) {
  if (wrong()) return wrong();
  return known(name, is_instance(handle) ? 100 + gpu(handle) : gpu(handle), value) ? 0 : NOT_SUPPORTED;
}

int nvmlInit_v2(void) {
  note('(');
  return number("gpus", -1) ? 0 : 9; /* the driver is not loaded */
}
int nvmlInitWithFlags(unsigned flags) { return flags ? 2 : nvmlInit_v2(); }
int nvmlShutdown(void) { return note(')'), 0; }
const char *nvmlErrorString(int error) { return error == 999 ? "Unknown Error" : "an error"; }
int nvmlDeviceGetCount_v2(unsigned *count) {
  *count = (unsigned)number("gpus", -1);
  return wrong();
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
  *handle = (void *)(intptr_t)(1000 + index);
  return number("lost", (int)index) ? GPU_IS_LOST : wrong();
}
int nvmlDeviceGetUUID(void *handle, char *uuid, unsigned size) {
  snprintf(uuid, size, is_instance(handle) ? "MIG-%08d-a" : "GPU-%08d-a", gpu(handle));
  return wrong();
}
int nvmlDeviceGetName(void *handle, char *name, unsigned size) {
  return snprintf(name, size, "GPU"), (void)handle, wrong();
}
int nvmlDeviceGetIndex(void *handle, unsigned *index) { return *index = (unsigned)gpu(handle), wrong(); }
int nvmlDeviceGetFanSpeed(void *handle, unsigned *speed) { return (void)handle, *speed = 0, NOT_SUPPORTED; }
int nvmlDeviceGetEnforcedPowerLimit(void *handle, unsigned *limit) { return (void)handle, *limit = 0, NOT_SUPPORTED; }
int nvmlDeviceGetMaxMigDeviceCount(void *handle, unsigned *count) {
  *count = gpu(handle) ? 0 : (unsigned)number("mig", -1);
  return wrong();
}
int nvmlDeviceGetMigDeviceHandleByIndex(void *handle, unsigned index, void **instance) {
  *instance = (void *)(intptr_t)(2000 + index);
  return wrong();
}
int nvmlDeviceGetTemperature(void *handle, int sensor, unsigned *value) {
  long long found = 0;
  int problem = figure(handle, "temperature", &found);
  *value = (unsigned)found;
  return sensor ? 2 : problem;
}
int nvmlDeviceGetTemperatureV(void *handle, int *versioned) {
  long long found = 0;
  int problem = figure(handle, "temperature", &found);
  versioned[2] = (int)found;
  return problem;
}
int nvmlDeviceGetPowerUsage(void *handle, unsigned *value) {
  long long found = 0;
  int problem = figure(handle, "power", &found);
  *value = (unsigned)found;
  return problem;
}
int nvmlDeviceGetUtilizationRates(void *handle, unsigned *rates) {
  long long found = 0;
  int problem = figure(handle, "utilization", &found);
  rates[0] = (unsigned)found, rates[1] = 0;
  return problem;
}
int nvmlDeviceGetMemoryInfo(void *handle, unsigned long long *memory) {
  long long used = 0, total = 0;
  int problem = figure(handle, "used", &used);
  if (!problem) problem = figure(handle, "total", &total);
  memory[0] = (unsigned long long)total * MIB;
  memory[1] = (unsigned long long)(total - used) * MIB;
  memory[2] = (unsigned long long)used * MIB;
  return problem;
}
struct process {
  unsigned pid;
  unsigned long long used;
  unsigned gpu_instance, compute_instance;
};
int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *count, struct process *found) {
  long long pid = 0;
  int room = (int)*count;
  if (wrong() || !known("pid", gpu(handle), &pid)) return *count = 0, wrong();
  *count = 1;
  if (!found || room < 1) return INSUFFICIENT_SIZE;
  memset(found, 0, sizeof *found);
  found->pid = (unsigned)pid;
  found->used = (unsigned long long)number("pid_used", gpu(handle)) * MIB;
  return 0;
}
int nvmlDeviceGetComputeRunningProcesses_v2(void *handle, unsigned *count, struct process *found) {
  return nvmlDeviceGetComputeRunningProcesses_v3(handle, count, found);
}
int nvmlDeviceGetGraphicsRunningProcesses_v3(void *handle, unsigned *count, struct process *found) {
  return (void)handle, (void)found, *count = 0, wrong();
}

/* rocm_smi */
static int of_amd(uint32_t index, const char *name, long long *value) {
  return figure((void *)(intptr_t)(1000 + index), name, value);
}
int rsmi_init(uint64_t flags) { return note('['), flags || !number("gpus", -1); }
int rsmi_shut_down(void) { return note(']'), 0; }
int rsmi_num_monitor_devices(uint32_t *count) { return *count = (uint32_t)number("gpus", -1), wrong(); }
int rsmi_dev_unique_id_get(uint32_t index, uint64_t *id) { return *id = 0xabc0 + index, wrong(); }
int rsmi_dev_busy_percent_get(uint32_t index, uint32_t *value) {
  long long found = 0;
  int problem = of_amd(index, "utilization", &found);
  return *value = (uint32_t)found, problem;
}
int rsmi_dev_temp_metric_get(uint32_t index, uint32_t sensor, int metric, int64_t *value) {
  long long found = 0;
  int problem = of_amd(index, "temperature", &found);
  return *value = found * 1000, metric || sensor > 1 ? 1 : problem;
}
int rsmi_dev_power_ave_get(uint32_t index, uint32_t sensor, uint64_t *value) {
  long long found = 0;
  int problem = of_amd(index, "power", &found);
  return *value = (uint64_t)found * 1000, sensor ? 1 : problem;
}
int rsmi_dev_memory_usage_get(uint32_t index, int type, uint64_t *value) {
  long long found = 0;
  int problem = of_amd(index, "used", &found);
  return *value = (uint64_t)found * MIB, type ? 1 : problem;
}
int rsmi_dev_memory_total_get(uint32_t index, int type, uint64_t *value) {
  long long found = 0;
  int problem = of_amd(index, "total", &found);
  return *value = (uint64_t)found * MIB, type ? 1 : problem;
}
