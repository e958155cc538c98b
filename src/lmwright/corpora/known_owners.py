"""Which modules and classes of the standard library are asked for names, and in which order."""

import re

# Modules and classes in the order in which people meet them; earlier ones win when names are
# limited or when two names share one summary. A class lists its methods, inherited ones too.
_OWNERS = """
builtins str list dict set int float tuple bytes math os os.path itertools functools re json
collections collections.Counter collections.deque collections.OrderedDict collections.defaultdict
pathlib pathlib.Path datetime datetime.datetime datetime.date datetime.timedelta datetime.time
random statistics string time shutil sys operator copy glob fnmatch csv pickle heapq bisect hashlib
base64 struct decimal fractions dataclasses contextlib logging logging.Logger argparse
argparse.ArgumentParser textwrap pprint socket socket.socket threading threading.Thread
threading.Event threading.Condition subprocess subprocess.Popen tempfile urllib.parse urllib.request
uuid secrets hmac zlib gzip zipfile zipfile.ZipFile configparser configparser.ConfigParser calendar
asyncio asyncio.Queue asyncio.Task queue queue.Queue concurrent.futures concurrent.futures.Future
multiprocessing enum typing abc io io.StringIO io.BytesIO io.TextIOWrapper types re.Pattern re.Match
bz2 lzma tarfile tarfile.TarFile decimal.Decimal fractions.Fraction threading.Semaphore
threading.Timer threading.Barrier asyncio.Event asyncio.Lock concurrent.futures.Executor signal
select selectors selectors.BaseSelector ipaddress ipaddress.IPv4Address ipaddress.IPv4Network
traceback warnings weakref gc inspect ast dis tokenize unittest unittest.TestCase timeit
timeit.Timer html xml.etree.ElementTree xml.etree.ElementTree.Element
xml.etree.ElementTree.ElementTree sqlite3 sqlite3.Connection sqlite3.Cursor array array.array
difflib difflib.SequenceMatcher platform stat shlex keyword codecs unicodedata linecache importlib
importlib.util pkgutil mimetypes copyreg atexit sched sched.scheduler numbers cmath colorsys filecmp
fileinput getpass plistlib tomllib graphlib graphlib.TopologicalSorter zoneinfo binascii quopri
frozenset bytearray complex memoryview range slice property string.Template string.Formatter
random.Random collections.ChainMap collections.UserDict collections.abc statistics.NormalDist
struct.Struct email.message email.message.Message email.utils http http.client
http.client.HTTPConnection http.server http.cookies html.parser html.parser.HTMLParser urllib.error
urllib.robotparser smtplib smtplib.SMTP ftplib.FTP poplib.POP3 imaplib.IMAP4 ssl ssl.SSLContext
ssl.SSLSocket socketserver socketserver.BaseServer logging.handlers logging.config cmd.Cmd pdb trace
tracemalloc profile pstats.Stats symtable py_compile compileall modulefinder runpy zipimport site
sysconfig locale gettext errno resource pwd grp fcntl termios tty pty mmap mmap.mmap contextvars
contextvars.Context faulthandler xml.dom.minidom xml.sax xml.sax.saxutils
xml.sax.handler.ContentHandler wave code codeop rlcompleter optparse optparse.OptionParser
nturl2path netrc zipapp venv types.MappingProxyType asyncio.StreamReader asyncio.StreamWriter
asyncio.Server asyncio.AbstractEventLoop asyncio.Semaphore asyncio.Condition asyncio.Future
threading.Lock multiprocessing.pool.Pool multiprocessing.Process multiprocessing.connection shelve
shelve.Shelf dbm mailbox.Mailbox ctypes bdb.Bdb ast.NodeVisitor inspect.Signature inspect.Parameter
io.BufferedReader io.FileIO io.IOBase io.RawIOBase io.TextIOBase decimal.Context datetime.tzinfo
unittest.mock unittest.TestResult unittest.TestSuite email.header.Header email.policy
email.charset.Charset ipaddress.IPv6Address lzma.LZMACompressor tempfile.TemporaryDirectory
weakref.WeakValueDictionary importlib.metadata importlib.resources
"""
OWNERS: tuple[str, ...] = tuple(_OWNERS.split())

# Names that few people meet: they come after all others.
RARE = re.compile(
    r"operator\.i(?:add|and|concat|floordiv|lshift|matmul|mod|mul|or|pow|rshift|sub|truediv|xor)|"
    r"os\.(?:sched_|set\w*[gu]ids?$|get(?:res|e)\w*[gu]id$|set(?:pg|sid|priority|groups)|W[A-Z]|exec|spawn"
    r"|posix_|pidfd|memfd|eventfd|\w*xattr|f?pathconf|f?sysconf|confstr|\w+_result|tc[gs]et|major"
    r"|minor|makedev|mknod|splice|login_tty|p?readv|p?writev|wait\d|waitid|getpg|getsid|lchown|nice"
    r"|get(?:grouplist|groups|loadavg|priority|random)|f[a-z]+at|fork|ctermid|device_enc|copy_file)"
    r"|\w+Warning$|typing\.Supports|contextlib\.Abstract|socket\.CMSG|enum\.(?:global_|EnumC)"
    r"|decimal\.Decimal\.|tarfile\.TarFile\.(?:make|ch|\w+open|utime)|int\.(?:imag|real)|\w+\.\w+\.fatal"
    r"|pathlib\.\w*(?:Posix|Windows)|pathlib\.Path\.(?:is_\w+_device|link_to|is_fifo|is_reserved)"
)

# Hooks that other packages put their own functions into: their documentation would change with
# what is loaded, and with it the corpus.
REPLACEABLE = re.compile(r"(?:sys|threading)\.\w+hook$|warnings\.(?:show|format)warning$")
