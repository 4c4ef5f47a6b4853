"""Feature files as other projects left them, read record by record: one module for each format.

``lmdb_file`` (the original project's LMDB, its older base64 variant, MMF's variant), ``tsv`` (bottom-up attention and
its relatives), ``vinvl`` (VinVL's rows), ``npy`` (a file for each picture). ``fields`` turns what a record says into
:class:`~twelvefold.schema.Regions`, whatever each project calls it; ``names`` turns names into picture keys. What
becomes of the records is :mod:`twelvefold.features.import_features`'s business. Paper: section 3, image regions.
"""
