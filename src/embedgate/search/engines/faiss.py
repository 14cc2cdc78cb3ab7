def unavailable():
    return None
