"""How the embedded text models are made: corpus, tokenizer, network, training, export.

    python -m lmc.models.train.corpus    texts -> clean, filtered documents by category
    python -m lmc.models.train.split     documents -> a byte-level BPE tokenizer, and token streams
    python -m lmc.models.train.run       token streams -> float weights (one GPU, resumable)
    python -m lmc.models.train.export    float weights -> a model file
    python -m lmc.models.train.curves    the log of a run -> a picture of its loss

README.md in this folder has the commands that made the models of this version.
"""
