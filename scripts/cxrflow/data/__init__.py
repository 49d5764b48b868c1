"""Raw folders to packed images: readers, decoding, the index, the split, preprocessing. Never imports torch."""
