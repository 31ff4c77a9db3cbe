#!/bin/sh
# Makes the prompts of index.json: `sh make.sh` in this folder, with espeak-ng, sox and python3 installed.
# Raw µ-law, 8000 Hz, mono, telephone band, 6 dB below full scale, silence cut off at both ends.
set -eu

python3 -c 'import json
for name, words in json.load(open("index.json")).items(): print(name, words)' |
    while read -r name words; do
        espeak-ng -v en-us -s 150 -w "$name.wav" "$words" </dev/null
        sox -D "$name.wav" -r 8000 -c 1 -e mu-law -t raw "$name.ul" \
            highpass 250 lowpass 3400 silence 1 0.02 0.5% reverse silence 1 0.02 0.5% reverse norm -6 </dev/null
        rm "$name.wav"
    done
