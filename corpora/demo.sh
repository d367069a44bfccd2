#!/bin/sh
# Compress a file, restore it, compare. Called by `make demo`, with
#   BIN    where lmc is installed
#   MODEL  empty: level 2, and a language model if one is installed;
#          1: also get the recommended model; a name: use that one
# The model shows what it can on the first 16 KiB, so that a slow machine too is done in minutes.
set -eu
sample=$1
lmc=$BIN/lmc
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM HUP

# round WHAT OPTIONS…: there and back with these options
round() {
    what=$1
    shift
    began=$(date +%s%N)
    "$lmc" "$@" -f -o "$work/small.lmc" "$sample"
    middle=$(date +%s%N)
    "$lmc" -df -o "$work/again" "$work/small.lmc"
    ended=$(date +%s%N)
    cmp "$sample" "$work/again"
    row "$what" "$(wc -c < "$work/small.lmc")" $(((middle - began) / 1000000)) \
        $(((ended - middle) / 1000000))
}

row() {
    printf '%-24s %9d bytes  %5.1f %%   there %6d ms   back %6d ms\n' \
        "$1" "$2" "$(echo "$2 $size" | awk '{ print 100 * $1 / $2 }')" "$3" "$4"
}

# rivals: what everybody has
rivals() {
    size=$(wc -c < "$sample")
    echo "$1: $size bytes"
    for rival in gzip xz; do
        if command -v $rival > /dev/null; then
            began=$(date +%s%N)
            $rival -9 -c "$sample" > "$work/rival"
            middle=$(date +%s%N)
            $rival -dc "$work/rival" > "$work/again"
            ended=$(date +%s%N)
            row "$rival -9" "$(wc -c < "$work/rival")" $(((middle - began) / 1000000)) \
                $(((ended - middle) / 1000000))
        fi
    done
}

rivals "$sample"
round "lmc -2 (no model)" -2

# A model's turn: the one that was asked for, or one that is here already.
case ${MODEL:-} in
    "") model= ;;
    1) model=$("$lmc" models list --json | sed -n 's/.*"name": "\(.*\)".*/\1/p' | tail -n 1) ;;
    *) model=$MODEL ;;
esac
if [ -n "$model" ] && ! "$lmc" models verify -q "$model" 2> /dev/null; then
    "$lmc" models pull "$model"
fi
if [ -z "$model" ]; then
    model=$("$lmc" models list --json | tr -d '\n' | tr '{' '\n' \
        | sed -n 's/.*"name": "\([^"]*\)", *"installed": true.*/\1/p' | head -n 1)
fi
if [ -n "$model" ]; then
    head -c 16384 "$sample" > "$work/excerpt"
    sample=$work/excerpt
    rivals "Its beginning"
    round "lmc -2 (no model)" -2
    round "lmc -7 -m $model" -7 -m "$model"
else
    echo "No language model is installed. 'make demo MODEL=1' gets one and shows what it does."
fi
echo "Whatever was restored was equal to the sample, byte for byte."
