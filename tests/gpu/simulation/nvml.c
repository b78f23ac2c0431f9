/* A libnvidia-ml.so.1 without a GPU: answers what a memory-mapped file says (see state.py, same layout).
 *
 * NVML_SIMULATION names the file. Each value of a GPU is a cell with the return code that the call gives; a
 * GPU's fault overrides all its cells, and hang_ms makes each of its calls take that long.
 */
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
  ENERGY, POWER_USAGE, POWER_AVERAGE, POWER_INSTANT, POWER_LIMIT, UTILIZATION_GPU, UTILIZATION_MEMORY,
  MEMORY_TOTAL, MEMORY_USED, TEMPERATURE, SLOWDOWN_TEMPERATURE, CLOCK_SM, CLOCK_MEMORY, CLOCKS_EVENT_REASONS,
  ECC_UNCORRECTED, ECC_CORRECTED, REMAP_PENDING, REMAP_FAILED, PCIE_REPLAYS, PCIE_WIDTH, PCIE_MAX_WIDTH,
  MIG_MODE, GPM_SUPPORT, NVLINKS, NVLINKS_ACTIVE, NVLINK_ERRORS, NVLINK_PEER, NUMA_NODE,
  XIDS, XID_CODE, PROCESSES, SOFTWARE_THERMAL, HARDWARE_THERMAL, POWER_BRAKE, CELLS
};
enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7,
       DRIVER_NOT_LOADED = 9, TIMEOUT = 10 };
#define MAX_GPUS 16
#define MAX_INSTANCES 7
#define FIELD_POWER_AVERAGE 185
#define FIELD_POWER_INSTANT 186
#define FIELD_SLOWDOWN 269

struct cell { uint32_t code; uint32_t pad; uint64_t value; };
/* Activity in thousandths; graphics_code is what GPM answers for DCGM's 1001. */
struct instance {
  char uuid[96]; char profile[32];
  uint32_t slices, number; uint32_t graphics, graphics_code; uint32_t multiprocessors, pad;
  uint64_t memory_total, memory_used;
};
struct gpu {
  char uuid[96]; char name[96]; char bus_id[32];
  uint32_t fault; uint32_t hang_ms;
  struct instance instance[MAX_INSTANCES];
  struct cell cells[CELLS];
};
struct state { uint32_t init_code; uint32_t count; char driver[80]; struct gpu gpus[MAX_GPUS]; };

static volatile struct state *shared;

unsigned simulation_size(void) { return sizeof(struct state); }

int nvmlInitWithFlags(unsigned flags) {
  (void)flags;
  if (shared == NULL) {
    const char *path = getenv("NVML_SIMULATION");
    int file = path == NULL ? -1 : open(path, O_RDONLY);
    struct stat about;
    if (file < 0) return DRIVER_NOT_LOADED;
    if (fstat(file, &about) != 0 || (size_t)about.st_size != sizeof(struct state)) return close(file), 999;
    void *mapped = mmap(NULL, sizeof(struct state), PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (mapped == MAP_FAILED) return 999;
    shared = mapped;
  }
  return shared->init_code;
}
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) {
  if (shared != NULL) munmap((void *)shared, sizeof(struct state));
  shared = NULL;
  return SUCCESS;
}
const char *nvmlErrorString(int code) { (void)code; return "simulated"; }

static int enter(volatile struct gpu *gpu) {
  if (shared == NULL) return 1;
  if (shared->init_code) return shared->init_code;
  if (gpu->hang_ms) {
    struct timespec pause = {gpu->hang_ms / 1000, (gpu->hang_ms % 1000) * 1000000L};
    nanosleep(&pause, NULL);
  }
  return gpu->fault;
}
static int read_cell(volatile struct gpu *gpu, int index, uint64_t *value) {
  int code = enter(gpu);
  if (code == SUCCESS) code = gpu->cells[index].code;
  if (code == SUCCESS) *value = gpu->cells[index].value;
  return code;
}
static int read_unsigned(volatile struct gpu *gpu, int index, unsigned *value) {
  uint64_t wide = 0;
  int code = read_cell(gpu, index, &wide);
  if (code == SUCCESS) *value = (unsigned)wide;
  return code;
}
static volatile struct instance *as_instance(void *handle) {
  for (unsigned n = 0; shared != NULL && n < shared->count; n++) {
    volatile struct gpu *gpu = &shared->gpus[n];
    if ((char *)handle >= (char *)gpu->instance && (char *)handle < (char *)gpu->cells) return handle;
  }
  return NULL;
}
static int copy(const volatile char *from, char *to, unsigned length) {
  if (strlen((const char *)from) >= length) return INSUFFICIENT_SIZE;
  strcpy(to, (const char *)from);
  return SUCCESS;
}

int nvmlSystemGetDriverVersion(char *to, unsigned length) { return copy(shared->driver, to, length); }
int nvmlSystemGetNVMLVersion(char *to, unsigned length) { return copy("13.580.0", to, length); }
int nvmlSystemGetCudaDriverVersion(int *version) { *version = 13000; return SUCCESS; }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { return nvmlSystemGetCudaDriverVersion(version); }

int nvmlDeviceGetCount_v2(unsigned *count) {
  if (shared == NULL) return 1;
  if (shared->init_code) return shared->init_code;
  *count = shared->count;
  return SUCCESS;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
  if (shared == NULL || index >= shared->count) return INVALID_ARGUMENT;
  *handle = (void *)&shared->gpus[index];
  return SUCCESS;
}
int nvmlDeviceGetHandleByUUID(const char *uuid, void **handle) {
  for (unsigned n = 0; shared != NULL && n < shared->count; n++)
    if (strcmp((const char *)shared->gpus[n].uuid, uuid) == 0) {
      *handle = (void *)&shared->gpus[n];
      return SUCCESS;
    }
  return NOT_FOUND;
}
int nvmlDeviceGetIndex(struct gpu *gpu, unsigned *index) { *index = (unsigned)(gpu - (struct gpu *)shared->gpus); return SUCCESS; }
int nvmlDeviceGetUUID(void *handle, char *to, unsigned length) {
  volatile struct instance *instance = as_instance(handle);
  if (instance != NULL) return copy(instance->uuid, to, length);
  return copy(((volatile struct gpu *)handle)->uuid, to, length);
}
static volatile struct gpu *board_of(volatile struct instance *instance) {
  size_t offset = (volatile char *)instance - (volatile char *)shared->gpus;
  return &shared->gpus[offset / sizeof(struct gpu)];
}
/* What happens to the handle of an instance that was destroyed. */
static int enter_instance(volatile struct instance *instance) {
  volatile struct gpu *gpu = board_of(instance);
  int code = enter(gpu);
  if (code) return code;
  return instance->uuid[0] ? SUCCESS : INVALID_ARGUMENT;
}
int nvmlDeviceGetName(void *handle, char *to, unsigned length) {
  volatile struct instance *instance = as_instance(handle);
  if (instance == NULL) return copy(((volatile struct gpu *)handle)->name, to, length);
  int code = enter_instance(instance);
  if (code) return code;
  const char *name = (const char *)board_of(instance)->name, *profile = (const char *)instance->profile;
  if (strlen(name) + strlen(profile) + 6 > length) return INSUFFICIENT_SIZE;
  strcpy(to, name); strcat(to, " MIG "); strcat(to, profile);
  return SUCCESS;
}

struct pci { char legacy[16]; unsigned domain, bus, device, device_id, subsystem_id; char bus_id[32]; };
int nvmlDeviceGetPciInfo_v3(struct gpu *gpu, struct pci *pci) {
  memset(pci, 0, sizeof *pci);
  return copy(gpu->bus_id, pci->bus_id, sizeof pci->bus_id);
}

int nvmlDeviceGetTotalEnergyConsumption(struct gpu *gpu, unsigned long long *value) {
  uint64_t wide = 0;
  int code = read_cell(gpu, ENERGY, &wide);
  *value = wide;
  return code;
}
int nvmlDeviceGetPowerUsage(struct gpu *gpu, unsigned *value) { return read_unsigned(gpu, POWER_USAGE, value); }
int nvmlDeviceGetEnforcedPowerLimit(struct gpu *gpu, unsigned *value) { return read_unsigned(gpu, POWER_LIMIT, value); }
int nvmlDeviceGetPowerManagementLimit(struct gpu *gpu, unsigned *value) { return read_unsigned(gpu, POWER_LIMIT, value); }
int nvmlDeviceGetTemperature(struct gpu *gpu, int sensor, unsigned *value) { (void)sensor; return read_unsigned(gpu, TEMPERATURE, value); }
int nvmlDeviceGetTemperatureThreshold(struct gpu *gpu, int kind, unsigned *value) {
  (void)kind;
  return read_unsigned(gpu, SLOWDOWN_TEMPERATURE, value);
}
int nvmlDeviceGetClockInfo(struct gpu *gpu, int kind, unsigned *value) {
  return read_unsigned(gpu, kind == 2 ? CLOCK_MEMORY : CLOCK_SM, value);
}
int nvmlDeviceGetCurrentClocksEventReasons(struct gpu *gpu, unsigned long long *value) {
  uint64_t wide = 0;
  int code = read_cell(gpu, CLOCKS_EVENT_REASONS, &wide);
  *value = wide;
  return code;
}
int nvmlDeviceGetCurrentClocksThrottleReasons(struct gpu *gpu, unsigned long long *value) {
  return nvmlDeviceGetCurrentClocksEventReasons(gpu, value);
}
int nvmlDeviceGetTotalEccErrors(struct gpu *gpu, int error, int counter, unsigned long long *value) {
  uint64_t wide = 0;
  (void)counter;
  int code = read_cell(gpu, error == 1 ? ECC_UNCORRECTED : ECC_CORRECTED, &wide);
  *value = wide;
  return code;
}
int nvmlDeviceGetRemappedRows(struct gpu *gpu, unsigned *corrected, unsigned *uncorrected, unsigned *pending, unsigned *failed) {
  *corrected = *uncorrected = 0;
  int code = read_unsigned(gpu, REMAP_PENDING, pending);
  return code ? code : read_unsigned(gpu, REMAP_FAILED, failed);
}
int nvmlDeviceGetPcieReplayCounter(struct gpu *gpu, unsigned *value) { return read_unsigned(gpu, PCIE_REPLAYS, value); }
int nvmlDeviceGetCurrPcieLinkWidth(struct gpu *gpu, unsigned *value) { return read_unsigned(gpu, PCIE_WIDTH, value); }
int nvmlDeviceGetMaxPcieLinkWidth(struct gpu *gpu, unsigned *value) { return read_unsigned(gpu, PCIE_MAX_WIDTH, value); }

struct utilization { unsigned gpu, memory; };
int nvmlDeviceGetUtilizationRates(struct gpu *gpu, struct utilization *rates) {
  int code = read_unsigned(gpu, UTILIZATION_GPU, &rates->gpu);
  return code ? code : read_unsigned(gpu, UTILIZATION_MEMORY, &rates->memory);
}
struct memory { unsigned long long total, free, used; };
int nvmlDeviceGetMemoryInfo(void *handle, struct memory *memory) {
  uint64_t total = 0, used = 0;
  volatile struct instance *instance = as_instance(handle);
  if (instance != NULL) {
    int code = enter_instance(instance);
    memory->total = instance->memory_total; memory->used = instance->memory_used;
    memory->free = memory->total - memory->used;
    return code;
  }
  struct gpu *gpu = handle;
  int code = read_cell(gpu, MEMORY_TOTAL, &total);
  if (code == SUCCESS) code = read_cell(gpu, MEMORY_USED, &used);
  memory->total = total; memory->used = used; memory->free = total - used;
  return code;
}
struct memory_v2 { unsigned version; unsigned long long total, reserved, free, used; };
int nvmlDeviceGetMemoryInfo_v2(struct gpu *gpu, struct memory_v2 *memory) {
  struct memory plain;
  int code = nvmlDeviceGetMemoryInfo(gpu, &plain);
  memory->total = plain.total; memory->used = plain.used; memory->free = plain.free; memory->reserved = 0;
  return code;
}

struct field { unsigned id, scope; long timestamp, latency; unsigned type, code; union { double d; unsigned u; unsigned long ul; } value; };
int nvmlDeviceGetFieldValues(struct gpu *gpu, int count, struct field *fields) {
  int code = enter(gpu);
  if (code) return code;
  for (int n = 0; n < count; n++) {
    int cell = fields[n].id == FIELD_POWER_AVERAGE ? POWER_AVERAGE : fields[n].id == FIELD_POWER_INSTANT ? POWER_INSTANT
      : fields[n].id - FIELD_SLOWDOWN < 3 ? SOFTWARE_THERMAL + (int)(fields[n].id - FIELD_SLOWDOWN) : -1;
    fields[n].code = cell < 0 ? NOT_SUPPORTED : gpu->cells[cell].code;
    fields[n].type = 1;
    fields[n].value.ul = 0;
    if (fields[n].code == SUCCESS) fields[n].value.ul = gpu->cells[cell].value;
  }
  return SUCCESS;
}

struct process { unsigned pid; unsigned long long memory; unsigned instance, compute; };
int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *count, struct process *processes) {
  unsigned room = *count, found = 0;
  if (as_instance(handle) == NULL) {
    int code = read_unsigned(handle, PROCESSES, &found);
    if (code) return code;
  }
  *count = found;
  if (found > room) return INSUFFICIENT_SIZE;
  for (unsigned n = 0; n < found; n++) processes[n] = (struct process){1000 + n, 0, ~0u, ~0u};
  return SUCCESS;
}
int nvmlDeviceGetGraphicsRunningProcesses_v3(struct gpu *gpu, unsigned *count, void *processes) { (void)processes; *count = 0; return enter(gpu); }

/* What other programs ask for; an H100 has no fan. */
int nvmlDeviceGetFanSpeed(struct gpu *gpu, unsigned *percent) { (void)gpu; *percent = 0; return NOT_SUPPORTED; }
int nvmlDeviceGetComputeMode(struct gpu *gpu, unsigned *mode) { *mode = 0; return enter(gpu); }
int nvmlDeviceGetPersistenceMode(struct gpu *gpu, unsigned *mode) { *mode = 1; return enter(gpu); }
int nvmlDeviceGetPerformanceState(struct gpu *gpu, unsigned *state) { *state = 0; return enter(gpu); }
int nvmlDeviceGetDisplayActive(struct gpu *gpu, unsigned *active) { *active = 0; return enter(gpu); }
int nvmlDeviceGetMaxClockInfo(struct gpu *gpu, int kind, unsigned *value) { return nvmlDeviceGetClockInfo(gpu, kind, value); }
int nvmlDeviceGetPcieThroughput(struct gpu *gpu, int counter, unsigned *value) { (void)counter; *value = 0; return enter(gpu); }
int nvmlDeviceGetEncoderUtilization(struct gpu *gpu, unsigned *value, unsigned *period) { *value = *period = 0; return enter(gpu); }
int nvmlDeviceGetDecoderUtilization(struct gpu *gpu, unsigned *value, unsigned *period) { *value = *period = 0; return enter(gpu); }

/* The first of so many links are up; NVLINK_ERRORS is what each of them has counted of each kind. */
int nvmlDeviceGetNvLinkState(struct gpu *gpu, unsigned link, unsigned *active) {
  unsigned links = 0, up = 0;
  int code = read_unsigned(gpu, NVLINKS, &links);
  if (code == SUCCESS) code = read_unsigned(gpu, NVLINKS_ACTIVE, &up);
  if (code) return code;
  *active = link < up;
  return link < links ? SUCCESS : INVALID_ARGUMENT;
}
/* NVLINK_PEER is the number of the GPU at the other end of every link, or a switch: any higher number. */
int nvmlDeviceGetNvLinkRemoteDeviceType(struct gpu *gpu, unsigned link, unsigned *type) {
  unsigned peer = 0;
  (void)link;
  int code = read_unsigned(gpu, NVLINK_PEER, &peer);
  if (code == SUCCESS) *type = peer < MAX_GPUS ? 0 : 2;
  return code;
}
int nvmlDeviceGetNvLinkRemotePciInfo_v2(struct gpu *gpu, unsigned link, struct pci *info) {
  unsigned peer = 0;
  (void)link;
  int code = read_unsigned(gpu, NVLINK_PEER, &peer);
  if (code != SUCCESS) return code;
  return peer < shared->count ? nvmlDeviceGetPciInfo_v3((struct gpu *)&shared->gpus[peer], info) : NOT_FOUND;
}
int nvmlDeviceGetTopologyCommonAncestor(struct gpu *one, struct gpu *other, unsigned *level) {
  unsigned node = 0, other_node = 0;
  int code = read_unsigned(one, NUMA_NODE, &node);
  if (code == SUCCESS) code = read_unsigned(other, NUMA_NODE, &other_node);
  if (code == SUCCESS) *level = node == other_node ? 40 : 50;
  return code;
}
int nvmlDeviceGetNvLinkErrorCounter(struct gpu *gpu, unsigned link, unsigned kind, unsigned long long *value) {
  uint64_t wide = 0;
  (void)link; (void)kind;
  int code = read_cell(gpu, NVLINK_ERRORS, &wide);
  *value = wide;
  return code;
}

/* Events: each board shows XIDS times the last XID_CODE, counted by each set from when it was registered. */
struct event_set { unsigned count; struct gpu *gpus[MAX_GPUS]; uint64_t seen[MAX_GPUS]; };
struct event { struct gpu *gpu; unsigned long long type, data; unsigned instance, compute; };
int nvmlEventSetCreate(struct event_set **set) { *set = calloc(1, sizeof **set); return SUCCESS; }
int nvmlEventSetFree(struct event_set *set) { free(set); return SUCCESS; }
int nvmlDeviceRegisterEvents(struct gpu *gpu, unsigned long long types, struct event_set *set) {
  uint64_t now = 0;
  (void)types;
  int code = read_cell(gpu, XIDS, &now);
  if (code) return code;
  set->gpus[set->count] = gpu; set->seen[set->count++] = now;
  return SUCCESS;
}
int nvmlEventSetWait_v2(struct event_set *set, struct event *event, unsigned milliseconds) {
  (void)milliseconds;
  for (unsigned n = 0; n < set->count; n++) {
    if (set->seen[n] >= set->gpus[n]->cells[XIDS].value) continue;
    set->seen[n]++;
    memset(event, 0, sizeof *event);
    event->gpu = set->gpus[n]; event->type = 8; event->data = set->gpus[n]->cells[XID_CODE].value;
    return SUCCESS;
  }
  return TIMEOUT;
}

int nvmlDeviceGetMigMode(struct gpu *gpu, unsigned *current, unsigned *pending) {
  int code = read_unsigned(gpu, MIG_MODE, current);
  *pending = code ? 0 : *current;
  return code;
}
int nvmlDeviceGetMaxMigDeviceCount(struct gpu *gpu, unsigned *count) { *count = MAX_INSTANCES; return enter(gpu); }
int nvmlDeviceGetMigDeviceHandleByIndex(struct gpu *gpu, unsigned index, void **handle) {
  int code = enter(gpu);
  if (code) return code;
  if (index >= MAX_INSTANCES || !gpu->instance[index].uuid[0]) return NOT_FOUND;
  *handle = &gpu->instance[index];
  return SUCCESS;
}
int nvmlDeviceIsMigDeviceHandle(void *handle, unsigned *yes) { *yes = as_instance(handle) != NULL; return SUCCESS; }
struct attributes { unsigned multiprocessors, copy, decoder, encoder, jpeg, ofa, gpu_slices, compute_slices; unsigned long long memory_mib; };
int nvmlDeviceGetAttributes_v2(void *handle, struct attributes *attributes) {
  volatile struct instance *instance = as_instance(handle);
  if (instance == NULL) return INVALID_ARGUMENT;
  memset(attributes, 0, sizeof *attributes);
  attributes->gpu_slices = attributes->compute_slices = instance->slices;
  attributes->memory_mib = instance->memory_total >> 20;
  return enter_instance(instance);
}
int nvmlDeviceGetGpuInstanceId(void *handle, unsigned *number) {
  volatile struct instance *instance = as_instance(handle);
  if (instance == NULL) return INVALID_ARGUMENT;
  *number = instance->number;
  return enter_instance(instance);
}

/* GPM: what an instance does is told as of the second of two samples. */
struct gpm_support { unsigned version, supported; };
int nvmlGpmQueryDeviceSupport(struct gpu *gpu, struct gpm_support *support) {
  return read_unsigned(gpu, GPM_SUPPORT, &support->supported);
}
struct gpm_sample { struct gpu *gpu; unsigned number; };
int nvmlGpmSampleAlloc(struct gpm_sample **sample) { *sample = calloc(1, sizeof **sample); return SUCCESS; }
int nvmlGpmSampleFree(struct gpm_sample *sample) { free(sample); return SUCCESS; }
int nvmlGpmMigSampleGet(struct gpu *gpu, unsigned number, struct gpm_sample *sample) {
  sample->gpu = gpu; sample->number = number;
  return enter(gpu);
}
struct gpm_metric { unsigned id; int code; double value; char *names[3]; };
struct gpm_metrics { unsigned version, count; struct gpm_sample *first, *second; struct gpm_metric metrics[]; };
int nvmlGpmMetricsGet(struct gpm_metrics *asked) {
  struct gpm_sample *sample = asked->second;
  if (asked->first == NULL || asked->first->number != sample->number) return INVALID_ARGUMENT;
  for (unsigned n = 0; n < MAX_INSTANCES; n++) {
    volatile struct instance *instance = &sample->gpu->instance[n];
    if (!instance->uuid[0] || instance->number != sample->number) continue;
    for (unsigned m = 0; m < asked->count; m++) {
      struct gpm_metric *metric = &asked->metrics[m];
      metric->code = metric->id == 1 ? (int)instance->graphics_code : SUCCESS;
      metric->value = (metric->id == 1 ? instance->graphics : instance->multiprocessors) / 10.0;
    }
    return SUCCESS;
  }
  return NOT_FOUND;
}
