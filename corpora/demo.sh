#!/bin/sh
# Compress a file, restore it, compare. Called by `make demo`, with
#   BIN    where lmc is installed
#   MODEL  empty: with what comes with lmc; 1: get the recommended larger model; a name: that one
# A larger model shows what it can on the first 16 KiB, so that a slow machine too is done in minutes.
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
round "lmc -6 (lmc-small)" -6

# A larger model's turn, if one was asked for.
case ${MODEL:-} in
    1) model=lmc-large ;;
    *) model=${MODEL:-} ;;
esac
if [ -n "$model" ]; then
    "$lmc" models verify -q "$model" 2> /dev/null || "$lmc" models pull "$model"
    head -c 16384 "$sample" > "$work/excerpt"
    sample=$work/excerpt
    rivals "Its beginning"
    round "lmc -6 (lmc-small)" -6
    round "lmc -7 -m $model" -7 -m "$model"
else
    echo "'make demo MODEL=1' gets a larger model and shows what it does."
fi
echo "Whatever was restored was equal to the sample, byte for byte."
