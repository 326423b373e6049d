"""When should somebody be woken?"""
