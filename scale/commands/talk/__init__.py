"""The talk of `scale slides`: what each slide shows, from a run, a catalogue and the studies."""
