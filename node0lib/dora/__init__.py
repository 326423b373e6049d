"""How well do we deliver?"""
