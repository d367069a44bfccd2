"""`lmc bench`: lmc among the real tools, on files of your own.

The files of a run go through these in turn: `inputs` finds them, `content` reads what tools code
(bytes, pixels, samples, frames), `tools` is the table of compressors, `work` measures one file in a
process of its own, `store` keeps each result as soon as it is known, `summary` adds up, and
`tables`, `page` and `csvfile` write.
"""
