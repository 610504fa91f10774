from models.house.workers.replying import answer

__all__ = ["answer"]
