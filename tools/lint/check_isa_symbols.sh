#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Everything that an ISA object file defines lies in namespace scalebits::<isa>.
#
#     tools/lint/check_isa_symbols.sh build/debug/.../kernels/*avx*.o      (of a Debug build: -O2 hides the leak)
#
# Why: an inline function of another header, compiled here with -mavx512f, is a weak symbol; the linker may keep this
# copy for the whole program, which then dies of an illegal instruction on a lesser machine.
status=0
checked=0
for object in "$@"; do
  # A shell pattern that matched nothing arrives as it was written.
  [ -e "$object" ] || continue
  isa=$(basename "$object" | grep -oE 'avx[0-9]+[a-z0-9]*' | head -n 1)
  if [ -z "$isa" ]; then
    echo "$object:1: no instruction set in the file name, expected one like avx512.cc.o"
    status=1
    continue
  fi
  checked=$((checked + 1))
  symbols=$(nm -C --defined-only "$object") || { echo "$object:1: nm cannot read it"; status=1; continue; }
  # T, W, V, u: everything that other files can see. DW.ref.__gxx_personality_v0 is the compiler's pointer to the
  # exception handler: data, the same in every file.
  leaks=$(printf '%s\n' "$symbols" | awk '$2 ~ /^[TWVu]$/' | grep -vE " scalebits::$isa[a-z0-9_]*::" |
    grep -vF ' DW.ref.__gxx_personality_v0')
  if [ -n "$leaks" ]; then
    printf '%s\n' "$leaks" | while read -r _ kind name; do
      echo "$object:1: $name ($kind) is outside scalebits::$isa"
    done
    status=1
  fi
done
if [ "$checked" -eq 0 ] && [ "$status" -eq 0 ]; then echo "check_isa_symbols: no ISA objects"; fi
exit $status
