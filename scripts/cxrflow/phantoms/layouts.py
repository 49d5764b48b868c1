"""Which datasets are drawn, and in whose published layout: a table, so that planning need not import what draws."""

DRAWN_LAYOUTS = {"covid": "covid_radiography", "pneumonia": "kermany", "xray8": "nih"}  # {folder: reader}
