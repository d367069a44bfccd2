#!/bin/sh
# Runs the avx512vnni kernels on an emulated processor and compares them with the scalar ones, for
# those who have no processor with AVX-512. Takes a minute or two. It needs g++ and, on Debian:
#   apt install bochs bochs-term bochsbios
# Usage: run.sh [CPU]    (of `bochs -help cpu`; corei7_icelake_u unless told)
set -eu
cpu=${1:-corei7_icelake_u}
here=$(cd "$(dirname "$0")" && pwd)
sources=$here/../../../kernels/src
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The programs, compiled as setup.py compiles the kernels.
for part in threads dispatch tables transformer network_scalar network_avx2 network_avx512vnni network_amx; do
  g++ -std=c++17 -O3 -Wall -Wextra -Werror -ffp-contract=off -pthread -c "$sources/$part.cpp" -o "$work/$part.o"
done
for program in "$here/../arm/golden.cpp" "$here/check.cpp"; do
  g++ -std=c++17 -O2 -Wall -Wextra -Werror -static -pthread -I "$sources" "$program" "$work"/*.o \
    -o "$work/$(basename "$program" .cpp)"
done

# The ROM that starts them.
mkdir "$work/rom"
gcc -O1 -Wall -Wextra -Werror -ffreestanding -fpie -fno-stack-protector -fno-jump-tables -fcf-protection=none \
  -mgeneral-regs-only -fno-asynchronous-unwind-tables -c "$here/boot.c" -o "$work/rom/c.o"
gcc -c "$here/boot.S" -o "$work/rom/s.o"
ld -nostdlib -static --build-id=none -z noexecstack --entry=0xffff0000 -Ttext=0xffff0000 \
  --section-start=.reset=0xfffffff0 "$work/rom/s.o" "$work/rom/c.o" -o "$work/rom/elf"
objcopy -O binary "$work/rom/elf" "$work/rom/image"

cat >"$work/bochsrc" <<END
display_library: term
romimage: file=$work/rom/image
cpu: model=$cpu, count=1, ips=5000000
megs: 768
ata0: enabled=1
ata0-master: type=disk, path=$work/disk, mode=flat, cylinders=0
parport1: enabled=1, file=$work/output
log: $work/log
panic: action=fatal
error: action=ignore
info: action=report
debug: action=ignore
END
printf 'continue\nregisters\nquit\n' >"$work/commands" # a bochs with a debugger wants to be told
commands=
bochs -help 2>&1 | grep -q -e '-rc' && commands="-rc $work/commands"

# emulate PROGRAM ARGUMENT...: its output is left in $work/output. Bochs draws on a terminal.
emulate() {
  rm -f "$work/output" "$work/disk"
  printf '%s\0' "$@" >"$work/disk"
  truncate -s 512 "$work/disk"
  cat "$work/$1" >>"$work/disk"
  truncate -s 5160960 "$work/disk"
  TERM=xterm script -qfc "bochs -q -f $work/bochsrc $commands" /dev/null </dev/null >"$work/screen" 2>&1 || true
  grep -q 'shutdown requested' "$work/screen" "$work/log" && [ -s "$work/output" ] && return
  tail -n 60 "$work/log"
  echo "$*: stopped before its end"
  exit 1
}

golden=$(sed -n 's/^GOLDEN = "\(.*\)"/\1/p' "$here/../test_network.py")
for rows in 1 7 45; do
  emulate golden avx512vnni $rows 1
  [ "$(sha256sum <"$work/output")" = "$golden  -" ] || { echo "the golden logits differ, $rows rows a call"; exit 1; }
  echo "golden logits, $rows rows a call: equal"
done
"$work/check" scalar >"$work/scalar"
emulate check avx512vnni
diff "$work/scalar" "$work/output" || { echo "avx512vnni differs from scalar"; exit 1; }
echo "$(($(wc -l <"$work/output") - 1)) cases, $(tail -n 1 "$work/output"): equal"
