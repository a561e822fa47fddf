"""How fast the parts are, beside a floor that no implementation can pass and beside other libraries."""
