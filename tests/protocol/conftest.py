"""Each .chat file is a test file of its own, so that workers share them out."""
import chat as chats
import pytest


def pytest_collect_file(file_path, parent):
    if file_path.suffix == ".chat":
        return ChatFile.from_parent(parent, path=file_path)
    return None


class ChatFile(pytest.File):
    def collect(self):
        chat = chats.Chat(str(self.path))
        for name, value, is_split in chat.cases():
            yield ChatItem.from_parent(self, name=name.strip() or chat.name, chat=chat,
                                       value=value, is_split=is_split)


class ChatItem(pytest.Item):
    def __init__(self, chat, value, is_split, **rest):
        super().__init__(**rest)
        self.chat, self.value, self.is_split = chat, value, is_split

    def runtest(self):
        chats.run_case(self.chat, self.value, self.is_split)

    def repr_failure(self, excinfo):
        if isinstance(excinfo.value, chats.Wrong):
            return str(excinfo.value)
        return super().repr_failure(excinfo)

    def reportinfo(self):
        return self.path, 0, self.name


def pytest_sessionfinish():
    chats.stop_all()
