"""Read feature files of other projects record by record, with one module for each format.

``lmdb_file`` (the original project's LMDB, its older base64 variant, MMF's variant), ``tsv`` (bottom-up attention and
similar), ``vinvl`` (VinVL), ``npy`` (one file per image, also ``.npz``), ``hdf5_file``. ``fields`` converts a record to
:class:`~twelvefold.schema.Regions`; ``image_names`` converts names to image keys. The records are stored by
:mod:`twelvefold.features.import_features`. Paper: section 3.1, image region features.
"""
