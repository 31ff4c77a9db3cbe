#!/bin/sh
# Makes the lab's speech: `sh make.sh` in this folder, with espeak-ng and sox installed.
# Raw µ-law, 8000 Hz, mono, telephone band, 6 dB below full scale, silence cut off at both ends.
set -eu

say() { # name voice words-per-minute text
    espeak-ng -v "$2" -s "$3" -w "$1.wav" "$4"
    sox "$1.wav" -r 8000 -c 1 -e mu-law -t raw "$1.ul" \
        highpass 250 lowpass 3400 silence 1 0.02 0.5% reverse silence 1 0.02 0.5% reverse norm -6
    rm "$1.wav"
}

say greeting en-us+f3 165 "Hello, and welcome to Trunkline. How can I help you?"
say hours en-us+f3 165 "We are open from nine to five on weekdays, and from ten to two on Saturdays. On Sundays we are closed."
say address en-us+f3 165 "You find us at twelve Harbour Street, right beside the old lighthouse. The tram stops in front of the door, and the first hour of parking behind the house is free."
say wait en-us+f3 165 "Of course, take your time. I am still here when you need me."
say goodbye en-us+f3 165 "Thank you for calling. Goodbye!"
say caller_hours en-gb 160 "Hello. When are you open?"
say caller_address en-gb 160 "And where can I find you?"
say caller_interruption en-gb 160 "Sorry, one moment please."
say caller_thanks en-gb 160 "Thank you, that is all. Bye bye."
