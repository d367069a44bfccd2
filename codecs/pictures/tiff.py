from lmc.codecs.pictures.base import Odd
MAGICS = (b"II*\0", b"MM\0*")
def take_apart(data, most_pixels): raise Odd
def rebuild(recipe, samples): raise Odd
def geometry(prefix): return None
