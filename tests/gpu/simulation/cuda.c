// A libcuda.so.1 whose boards' memory is a file each, so that it outlives the process as a board's does.
//
// CUDA_SIMULATION is a directory with one file per board, named for its UUID; its size is the board's memory.
// CUDA_VISIBLE_DEVICES names the boards that are seen, in order. CUDA_SIMULATION_STUCK is the offset of a byte
// that takes no writes.

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_BOARDS = 16, OK = 0, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_DEVICE = 101, INVALID_CONTEXT = 201 };

struct board {
    uint8_t *memory;
    size_t size, used;
};

static struct board boards[MAX_BOARDS];
static int count;
static struct board *current;

static void add(const char *directory, const char *uuid) {
    char path[4096];
    struct stat found;
    snprintf(path, sizeof path, "%s/%s", directory, uuid);
    int file = open(path, O_RDWR);
    if (file < 0 || fstat(file, &found) != 0 || count == MAX_BOARDS) return;
    void *memory = mmap(NULL, found.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (memory != MAP_FAILED) boards[count++] = (struct board){memory, found.st_size, 0};
}

int cuInit(unsigned flags) {
    const char *directory = getenv("CUDA_SIMULATION"), *visible = getenv("CUDA_VISIBLE_DEVICES");
    if (!directory || !visible || flags) return NO_DEVICE;
    char names[4096];
    snprintf(names, sizeof names, "%s", visible);
    for (char *name = strtok(names, ","); name; name = strtok(NULL, ",")) add(directory, name);
    return count ? OK : NO_DEVICE;
}

int cuDeviceGetCount(int *found) {
    *found = count;
    return OK;
}

int cuDeviceGet(int *device, int ordinal) {
    *device = ordinal;
    return ordinal < count ? OK : INVALID_DEVICE;
}

int cuCtxCreate_v2(void **context, unsigned flags, int device) {
    if (device < 0 || device >= count || flags) return INVALID_DEVICE;
    current = *context = &boards[device];
    current->used = 0;
    return OK;
}

int cuCtxDestroy_v2(void *context) {
    if (context != current || !current) return INVALID_CONTEXT;
    current = NULL;
    return OK;
}

int cuMemGetInfo_v2(size_t *free, size_t *total) {
    if (!current) return INVALID_CONTEXT;
    *free = current->size - current->used;
    *total = current->size;
    return OK;
}

int cuMemAlloc_v2(uint64_t *pointer, size_t size) {
    if (!current) return INVALID_CONTEXT;
    if (size > current->size - current->used) return OUT_OF_MEMORY;
    *pointer = (uint64_t)(uintptr_t)(current->memory + current->used);
    current->used += size;
    return OK;
}

int cuMemsetD8_v2(uint64_t pointer, unsigned char value, size_t size) {
    if (!current) return INVALID_CONTEXT;
    const char *text = getenv("CUDA_SIMULATION_STUCK");
    uint8_t *stuck = text ? current->memory + atoll(text) : NULL;
    uint8_t *start = (uint8_t *)(uintptr_t)pointer;
    uint8_t kept = stuck ? *stuck : 0;
    memset(start, value, size);
    if (stuck) *stuck = kept;
    return OK;
}

int cuMemcpyDtoH_v2(void *target, uint64_t pointer, size_t size) {
    if (!current) return INVALID_CONTEXT;
    memcpy(target, (void *)(uintptr_t)pointer, size);
    return OK;
}
