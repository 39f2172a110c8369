"""Are predictions after a post-processing step what the declared step can have made of those before it?"""
