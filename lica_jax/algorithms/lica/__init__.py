"""LICA: the method that the library is named after."""
