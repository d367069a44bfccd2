// The rest of the ROM: starts a static Linux program and answers its few system calls. The disk has the
// program's arguments in its first sector, each ending in a zero byte, and the program's file after it.
#include <elf.h>
#include <errno.h>
#include <stdint.h>
#include <sys/syscall.h>

#define STACK_TOP 0x08000000
#define HEAP STACK_TOP
#define FILE 0x10000000
#define FILE_SECTORS 8192
#define ARGUMENTS (FILE - 512)
#define PAGES 0x12000000
#define PAGES_END 0x30000000
#define FREE 256  // pieces of free memory between them

// The ROM cannot be written to: its variables are here.
struct State {
  uint64_t heap;
  struct {
    uint64_t from, to;
  } free[FREE];
};
#define STATE ((struct State*)0x5000)

// Two registers: rax, rdx.
struct Start {
  uint64_t* stack;
  uint64_t entry;
};

static void out(uint16_t port, uint8_t value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }

static uint8_t in(uint16_t port) {
  uint8_t value;
  __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}

// Reads 256 sectors of the disk.
static void read(uint32_t sector, uint16_t* to) {
  out(0x1f6, (uint8_t)(0xe0 | sector >> 24));
  out(0x1f2, 0);
  out(0x1f3, (uint8_t)sector);
  out(0x1f4, (uint8_t)(sector >> 8));
  out(0x1f5, (uint8_t)(sector >> 16));
  out(0x1f7, 0x20);
  for (int i = 0; i < 256; ++i) {
    while ((in(0x1f7) & 0x88) != 0x08) {
    }
    uint64_t n = 256;
    __asm__ volatile("rep insw" : "+D"(to), "+c"(n) : "d"(0x1f0) : "memory");
  }
}

static void print(const uint8_t* p, uint64_t n) {  // to the parallel port
  for (uint64_t i = 0; i < n; ++i) {
    out(0x378, p[i]);
    out(0x37a, 0x0d);
    out(0x37a, 0x0c);
  }
}

static void copy(uint8_t* to, const uint8_t* from, uint64_t n) {
  __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}

// Memory starts with anything in it.
static void clear(uint64_t from, uint64_t to) {
  uint64_t n = (to - from) / 8;
  __asm__ volatile("rep stosq" : "+D"(from), "+c"(n) : "a"(0ull) : "memory");
  n = to - from;
  __asm__ volatile("rep stosb" : "+D"(from), "+c"(n) : "a"(0) : "memory");
}

static int64_t map(uint64_t n) {
  n = (n + 4095) & ~4095ull;
  for (int i = 0; i < FREE; ++i) {
    const uint64_t at = STATE->free[i].from;
    if (STATE->free[i].to - at < n) continue;
    STATE->free[i].from += n;
    clear(at, at + n);
    return (int64_t)at;
  }
  return -ENOMEM;
}

static int64_t unmap(uint64_t at, uint64_t n) {
  n = (n + 4095) & ~4095ull;
  for (int i = 0; i < FREE; ++i) {  // beside a free piece
    if (STATE->free[i].from == STATE->free[i].to) continue;
    if (STATE->free[i].to == at) return STATE->free[i].to += n, 0;
    if (STATE->free[i].from == at + n) return STATE->free[i].from = at, 0;
  }
  for (int i = 0; i < FREE; ++i) {
    if (STATE->free[i].from != STATE->free[i].to) continue;
    STATE->free[i].from = at;
    STATE->free[i].to = at + n;
    return 0;
  }
  return -ENOMEM;
}

struct Start load(void) {
  for (uint32_t i = 0; i < FILE_SECTORS; i += 256) read(i, (uint16_t*)(ARGUMENTS + i * 512ull));
  const Elf64_Ehdr* file = (const Elf64_Ehdr*)FILE;
  const Elf64_Phdr* headers = (const Elf64_Phdr*)(FILE + file->e_phoff);
  uint64_t seen = 0;
  for (int i = 0; i < file->e_phnum; ++i) {
    const Elf64_Phdr* h = headers + i;
    if (h->p_type != PT_LOAD) continue;
    copy((uint8_t*)h->p_vaddr, (const uint8_t*)FILE + h->p_offset, h->p_filesz);
    clear(h->p_vaddr + h->p_filesz, h->p_vaddr + h->p_memsz);
    if (h->p_offset == 0) seen = h->p_vaddr + file->e_phoff;
  }
  STATE->heap = HEAP;
  clear((uint64_t)STATE->free, (uint64_t)(STATE->free + FREE));
  STATE->free[0].from = PAGES;
  STATE->free[0].to = PAGES_END;
  uint64_t* top = (uint64_t*)(STACK_TOP - 0x1000);
  uint64_t count = 0;
  const char* arguments[16];
  for (const char* p = (const char*)ARGUMENTS; *p && count < 16; ++count) {
    arguments[count] = p;
    while (*p++) {
    }
  }
  const uint64_t vector[] = {AT_PHDR,  seen, AT_PHENT,  sizeof(Elf64_Phdr), AT_PHNUM,  file->e_phnum,  AT_PAGESZ, 4096,
                             AT_ENTRY, file->e_entry, AT_SECURE, 0,         AT_RANDOM, (uint64_t)FILE, AT_NULL,   0};
  const uint64_t length = sizeof(vector) / 8;
  uint64_t* stack = top - ((count + length + 3 + 1) & ~1ull);
  uint64_t* to = stack;
  *to++ = count;
  for (uint64_t i = 0; i < count; ++i) *to++ = (uint64_t)arguments[i];
  *to++ = 0;
  *to++ = 0;  // no environment
  for (uint64_t i = 0; i < length; ++i) *to++ = vector[i];
  return (struct Start){stack, file->e_entry};
}

int64_t serve(uint64_t call, uint64_t a, uint64_t b, uint64_t c) {
  if (call == SYS_write) {
    print((const uint8_t*)b, c);
    return (int64_t)c;
  }
  if (call == SYS_writev) {
    const uint64_t* parts = (const uint64_t*)b;
    int64_t all = 0;
    for (uint64_t i = 0; i < c; ++i) {
      print((const uint8_t*)parts[2 * i], parts[2 * i + 1]);
      all += (int64_t)parts[2 * i + 1];
    }
    return all;
  }
  if (call == SYS_brk) {
    if (a > STATE->heap && a < FILE) {
      clear(STATE->heap, a);
      STATE->heap = a;
    }
    return (int64_t)STATE->heap;
  }
  if (call == SYS_mmap) return map(b);
  if (call == SYS_munmap) return unmap(a, b);
  if (call == SYS_mprotect || call == SYS_madvise || call == SYS_futex) return 0;
  if (call == SYS_set_tid_address || call == SYS_gettid || call == SYS_getpid) return 1;
  if (call == SYS_arch_prctl && a == 0x1002) {  // ARCH_SET_FS
    __asm__ volatile("wrmsr" : : "c"(0xc0000100), "a"((uint32_t)b), "d"((uint32_t)(b >> 32)));
    return 0;
  }
  if (call == SYS_exit || call == SYS_exit_group) {
    if (a) print((const uint8_t*)"\nfailed\n", 8);
    const char* p = "Shutdown";  // ends the emulator
    while (*p) out(0x8900, (uint8_t)*p++);
    for (;;) __asm__ volatile("hlt");
  }
  return -ENOSYS;
}
