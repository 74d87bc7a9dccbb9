// The commands that the simulated GPU executes; not in the published ABI. The format of command buffers is
// private to a GPU and its user-mode driver. This header stands for that driver, and is small enough for a
// test. docs/command-format.md describes each op. Plain C, so that any client can include it.
//
//   0        8              16
//   | magic  | op | bytes | ... members ...      | op | bytes | ... |
//
// All numbers are little-endian. An op begins at a multiple of 8 and has `bytes` bytes, its header included.
// Addresses are GPU virtual addresses. Reserved members are 0. A buffer that does not begin with the magic is
// taken for one of another driver: it takes no time, does nothing and succeeds.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define DXG_COMMANDS_MAGIC 0x31444D434D495344ull  // "DSIMCMD1" in memory

enum dxg_command_op {
  DXG_OP_NOP = 0,
  DXG_OP_FILL = 1,
  DXG_OP_COPY = 2,
  DXG_OP_WRITE64 = 3,
  DXG_OP_ATOMIC_ADD64 = 4,
  DXG_OP_WAIT64 = 5,
  DXG_OP_TIMESTAMP = 6,
  DXG_OP_DELAY = 7,
  DXG_OP_MARKER = 8,
  DXG_OP_HANG = 9,
  DXG_OP_FAULT = 10,
  DXG_OP_TOUCH = 11,
  DXG_OP_ADD = 16,
  DXG_OP_MAD = 17,
  DXG_OP_REDUCE = 18,
  DXG_OP_MATMUL = 19,
};

enum dxg_command_type { DXG_TYPE_F32 = 0, DXG_TYPE_I32 = 1, DXG_TYPE_F64 = 2, DXG_TYPE_I64 = 3 };
enum dxg_command_reduction { DXG_REDUCE_SUM = 0, DXG_REDUCE_MIN = 1, DXG_REDUCE_MAX = 2 };
enum dxg_command_compare { DXG_COMPARE_GREATER_EQUAL = 0, DXG_COMPARE_EQUAL = 1 };

#define DXG_MATMUL_ACCUMULATE 1u  // c += a * b instead of c = a * b
#define DXG_TOUCH_WRITE 1u        // accesses as a write does; memory does not change

struct dxg_op_header {  // all of a NOP or HANG; a NOP may be longer
  uint32_t op;
  uint32_t bytes;
};

struct dxg_op_fill {
  struct dxg_op_header header;
  uint64_t address;  // multiple of 4
  uint64_t bytes;    // multiple of 4
  uint32_t pattern;
  uint32_t reserved;
};

struct dxg_op_copy {
  struct dxg_op_header header;
  uint64_t destination;
  uint64_t source;  // does not overlap the destination
  uint64_t bytes;
};

struct dxg_op_write64 {  // also ATOMIC_ADD64, whose value is added
  struct dxg_op_header header;
  uint64_t address;  // multiple of 8
  uint64_t value;
};

struct dxg_op_wait64 {  // until (memory & mask) compares to value
  struct dxg_op_header header;
  uint64_t address;  // multiple of 8
  uint64_t value;
  uint64_t mask;     // ~0: all bits
  uint32_t compare;  // enum dxg_command_compare, unsigned
  uint32_t reserved;
};

struct dxg_op_timestamp {
  struct dxg_op_header header;
  uint64_t address;  // multiple of 8; gets the counter of QueryClockCalibration for the node
};

struct dxg_op_delay {
  struct dxg_op_header header;
  uint64_t ns;  // at most DXG_DELAY_NS_MAX
};
#define DXG_DELAY_NS_MAX 3600000000000ull

struct dxg_op_marker {
  struct dxg_op_header header;
  uint64_t id;
};

struct dxg_op_fault {
  struct dxg_op_header header;
  uint32_t code;  // of this GPU, 31 bits
  uint32_t reserved;
};

struct dxg_op_touch {
  struct dxg_op_header header;
  uint64_t address;
  uint32_t flags;
  uint32_t reserved;
};

// The address of an array is a multiple of its element's size; `count` is in elements.

struct dxg_op_add {  // destination[i] = a[i] + b[i]
  struct dxg_op_header header;
  uint64_t destination;
  uint64_t a;
  uint64_t b;
  uint64_t count;
  uint32_t type;
  uint32_t reserved;
};

struct dxg_op_mad {  // destination[i] = a[i] * b[i] + c[i]
  struct dxg_op_header header;
  uint64_t destination;
  uint64_t a;
  uint64_t b;
  uint64_t c;
  uint64_t count;
  uint32_t type;
  uint32_t reserved;
};

struct dxg_op_reduce {  // destination[0] = the sum, least or greatest of source
  struct dxg_op_header header;
  uint64_t destination;
  uint64_t source;
  uint64_t count;  // not 0
  uint32_t type;
  uint32_t reduction;
};

struct dxg_op_matmul {  // c[m][n] = a[m][k] * b[k][n], row by row
  struct dxg_op_header header;
  uint64_t c;
  uint64_t a;
  uint64_t b;
  uint32_t m, n, k;              // at most DXG_MATMUL_MAX each
  uint32_t a_row, b_row, c_row;  // distances between rows in elements, at least k, n and n
  uint32_t type;
  uint32_t flags;
};
#define DXG_MATMUL_MAX 65536u

// Private data of a submission, from the user-mode driver to the kernel-mode driver. Data that does not begin
// with this magic is accepted unread.
#define DXG_SUBMISSION_MAGIC 0x4D425553u  // "SUBM" in memory
#define DXG_SUBMISSION_VERSION 1u

struct dxg_submission {
  uint32_t magic;
  uint32_t version;
  uint32_t bytes;  // of all the private data, this struct included; data of the program may follow
  uint32_t reserved;
  uint64_t tag;  // for the program
};

// -- Writing a buffer. Each function appends one op. An op that does not fit is counted and not written, so
// after the last op `used` is the needed capacity in bytes, also if it is larger than `capacity`.

struct dxg_commands {
  void* memory;
  size_t capacity;
  size_t used;
};

static inline void dxg_commands_append(struct dxg_commands* commands, const void* data, size_t bytes) {
  if (commands->used <= commands->capacity && bytes <= commands->capacity - commands->used) {
    memcpy((char*)commands->memory + commands->used, data, bytes);
  }
  commands->used += bytes;
}

static inline struct dxg_commands dxg_commands_begin(void* memory, size_t capacity) {
  const uint64_t magic = DXG_COMMANDS_MAGIC;
  struct dxg_commands commands;
  commands.memory = memory;
  commands.capacity = capacity;
  commands.used = 0;
  dxg_commands_append(&commands, &magic, sizeof magic);
  return commands;
}

// `op` is one of the structs above with everything but its header filled in.
#define DXG_COMMANDS_PUSH(commands, number, op)         \
  do {                                                  \
    (op).header.op = (number);                          \
    (op).header.bytes = (uint32_t)sizeof(op);           \
    dxg_commands_append((commands), &(op), sizeof(op)); \
  } while (0)

static inline void dxg_push_nop(struct dxg_commands* commands) {
  const struct dxg_op_header op = {DXG_OP_NOP, sizeof op};
  dxg_commands_append(commands, &op, sizeof op);
}

static inline void dxg_push_hang(struct dxg_commands* commands) {
  const struct dxg_op_header op = {DXG_OP_HANG, sizeof op};
  dxg_commands_append(commands, &op, sizeof op);
}

static inline void dxg_push_fill(struct dxg_commands* commands, uint64_t address, uint64_t bytes,
                                 uint32_t pattern) {
  struct dxg_op_fill op = {{0, 0}, address, bytes, pattern, 0};
  DXG_COMMANDS_PUSH(commands, DXG_OP_FILL, op);
}

static inline void dxg_push_copy(struct dxg_commands* commands, uint64_t destination, uint64_t source,
                                 uint64_t bytes) {
  struct dxg_op_copy op = {{0, 0}, destination, source, bytes};
  DXG_COMMANDS_PUSH(commands, DXG_OP_COPY, op);
}

static inline void dxg_push_write64(struct dxg_commands* commands, uint64_t address, uint64_t value) {
  struct dxg_op_write64 op = {{0, 0}, address, value};
  DXG_COMMANDS_PUSH(commands, DXG_OP_WRITE64, op);
}

static inline void dxg_push_atomic_add64(struct dxg_commands* commands, uint64_t address, uint64_t value) {
  struct dxg_op_write64 op = {{0, 0}, address, value};
  DXG_COMMANDS_PUSH(commands, DXG_OP_ATOMIC_ADD64, op);
}

static inline void dxg_push_wait64(struct dxg_commands* commands, uint64_t address, uint64_t value,
                                   uint64_t mask, uint32_t compare) {
  struct dxg_op_wait64 op = {{0, 0}, address, value, mask, compare, 0};
  DXG_COMMANDS_PUSH(commands, DXG_OP_WAIT64, op);
}

static inline void dxg_push_timestamp(struct dxg_commands* commands, uint64_t address) {
  struct dxg_op_timestamp op = {{0, 0}, address};
  DXG_COMMANDS_PUSH(commands, DXG_OP_TIMESTAMP, op);
}

static inline void dxg_push_delay(struct dxg_commands* commands, uint64_t ns) {
  struct dxg_op_delay op = {{0, 0}, ns};
  DXG_COMMANDS_PUSH(commands, DXG_OP_DELAY, op);
}

static inline void dxg_push_marker(struct dxg_commands* commands, uint64_t id) {
  struct dxg_op_marker op = {{0, 0}, id};
  DXG_COMMANDS_PUSH(commands, DXG_OP_MARKER, op);
}

static inline void dxg_push_fault(struct dxg_commands* commands, uint32_t code) {
  struct dxg_op_fault op = {{0, 0}, code, 0};
  DXG_COMMANDS_PUSH(commands, DXG_OP_FAULT, op);
}

static inline void dxg_push_touch(struct dxg_commands* commands, uint64_t address, uint32_t flags) {
  struct dxg_op_touch op = {{0, 0}, address, flags, 0};
  DXG_COMMANDS_PUSH(commands, DXG_OP_TOUCH, op);
}

static inline void dxg_push_add(struct dxg_commands* commands, uint64_t destination, uint64_t a, uint64_t b,
                                uint64_t count, uint32_t type) {
  struct dxg_op_add op = {{0, 0}, destination, a, b, count, type, 0};
  DXG_COMMANDS_PUSH(commands, DXG_OP_ADD, op);
}

static inline void dxg_push_mad(struct dxg_commands* commands, uint64_t destination, uint64_t a, uint64_t b,
                                uint64_t c, uint64_t count, uint32_t type) {
  struct dxg_op_mad op = {{0, 0}, destination, a, b, c, count, type, 0};
  DXG_COMMANDS_PUSH(commands, DXG_OP_MAD, op);
}

static inline void dxg_push_reduce(struct dxg_commands* commands, uint64_t destination, uint64_t source,
                                   uint64_t count, uint32_t type, uint32_t reduction) {
  struct dxg_op_reduce op = {{0, 0}, destination, source, count, type, reduction};
  DXG_COMMANDS_PUSH(commands, DXG_OP_REDUCE, op);
}

// `op` needs no header; this fills it in.
static inline void dxg_push_matmul(struct dxg_commands* commands, struct dxg_op_matmul op) {
  DXG_COMMANDS_PUSH(commands, DXG_OP_MATMUL, op);
}
