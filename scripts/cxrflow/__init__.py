"""The library of cxrflow: what the stages in scripts/ are made of. It never imports snakemake.

The folders follow the way of the data: `data` (raw folders to packed images), `models` (networks and their
training), `results` (predictions to metrics and explanations), `report` (tables, figures and the page).
`phantoms` draws test data. The modules beside this file serve all of them: settings, files, tables, stages, study.
"""
