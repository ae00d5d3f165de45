#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Code for one instruction set lies in namespace scalebits::<isa>. Two rules, by the name of the object file:
#
#     tools/lint/check_isa_symbols.sh .../avx512.cc.o .../clip_sums.cc.o ...
#
# avx512.cc.o (compiled with flags of its own): everything it defines for others is in scalebits::avx512. Sharp in a
#     build without optimization only, because inlining hides the leak.
# any other file: a function with AVX code in it is in a namespace avx... inside scalebits (target attributes).
#
# Why: an inline function of another header, compiled here with -mavx512f, is a weak symbol; the linker may keep this
# copy for the whole program, which then dies of an illegal instruction on a lesser machine.
status=0
checked=0
found=$(mktemp)
trap 'rm -f "$found"' EXIT

# Mangled names, because a demangled one may name the namespace in a template argument: std::sort<scalebits::avx512::T>.
# Z, GV, TV, TI, TS: local statics, their guards, virtual tables and type names.
own() { printf '^_Z(Z|GVZ?|T[VIS])?NK?9scalebits(12_GLOBAL__N_1)?[0-9]+%s' "$1"; }

report() { # OBJECT MESSAGE; the names are in $found
  [ -s "$found" ] || return
  c++filt <"$found" | while read -r name; do echo "$1:1: $name $2"; done
  status=1
}

for object in "$@"; do
  # A shell pattern that matched nothing arrives as it was written.
  [ -e "$object" ] || continue
  checked=$((checked + 1))
  isa=$(basename "$object" | grep -oE 'avx[0-9]+[a-z0-9]*' | head -n 1)
  if [ -n "$isa" ]; then
    symbols=$(nm --defined-only "$object") || { echo "$object:1: nm cannot read it"; status=1; continue; }
    # T, W, V, u: everything that other files can see. DW.ref.__gxx_personality_v0 is the compiler's pointer to the
    # exception handler: data, the same in every file.
    printf '%s\n' "$symbols" | awk '$2 ~ /^[TWVu]$/ && $3 != "DW.ref.__gxx_personality_v0" {print $3}' |
      grep -vE "$(own "$isa")" >"$found"
    report "$object" "is outside scalebits::$isa"
  else
    code=$(objdump -d --no-show-raw-insn "$object") || { echo "$object:1: objdump cannot read it"; status=1; continue; }
    # Every AVX instruction begins with v or names a wide or mask register.
    printf '%s\n' "$code" | awk '
      /^[0-9a-f]+ <.*>:$/ { name = substr($2, 2, length($2) - 3); next }
      /\tv[a-z]|%[yz]mm|%k[1-7]/ { if (name != "") print name; name = "" }' |
      grep -vE "$(own 'avx[0-9]')" >"$found"
    report "$object" "has AVX instructions and is outside a namespace scalebits::avx..."
  fi
done
if [ "$checked" -eq 0 ] && [ "$status" -eq 0 ]; then echo "check_isa_symbols: no objects"; fi
exit $status
