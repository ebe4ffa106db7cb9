"""Pictures that teach one point each: drawn by the notebooks, written by `scale figures`."""
