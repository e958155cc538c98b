"""Words from which names are made up; `made_up` puts them together."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# Functions one could expect of a real module or class: verb_noun, verbnoun, or one word alone.
VERBS = _words(
    """
    add apply attach build cache calculate check clean clear collect compare compute connect
    convert count create cut decode delete detect divide download drop emit encode estimate
    execute expand export extract fetch fill filter find flatten flip format gather generate get
    group guess import increase insert invert join keep label launch limit list load lock lookup
    make map mark match measure merge mix move multiply normalize notify order pack pad parse
    pick plot predict prepare preview print process pull push query rank read rebuild record
    reduce refresh register reload remove repair repeat report request reset resize restore
    retry reverse rotate sample save scale scan search select send set shift show sign skip
    slice sort split start stop store strip submit sum swap sync test toggle track trim turn
    unlock update upload validate verify visit wait warn watch weigh wrap write
    """
)
NOUNS = _words(
    """
    account address alias all amount area array average backup balance batch block body box
    branch bucket buffer byte cell chain channel char child chunk class client color column
    config content copy counter cursor data date day default delay depth device digit distance
    document domain edge element entry error event field file files flag folder font frame graph
    grid group handle header hour icon image index input item items job key keys label layer
    length level limit line lines link list locale mask matrix median member menu message minute
    model month name names node number object offset option order output page pair parent part
    password path pattern picture pixel point port prefix price process profile prime query
    range rank rate ratio record region result root row rows rule sample schema score screen
    section series session shape signal size slot speed state status step stream suffix sum
    symbol table tag target task text thread ticket time title token total tree type unit url
    user value values vector version view volume week weight width window word words
    """
)
PREFIXES = _words("is to as from has by try auto safe fast multi un re")

# Modules that do not exist; compounds alone use them, and compounds are never trained on.
COMPOUND_STEMS = _words(
    """
    aero array async audio auto bin blog bot byte card cart chart chat chess cloud code color
    config crypto cyber data date deep dict dns drone easy farm fast file film flow form fuzzy
    game geo ghost git graph grid hydro image index iot jpeg json jwt laser lazy light list log
    loop magic mail map mark math matrix mega meta micro midi mind model mongo mini mqtt multi
    name nano net neural note num object ocr omni orbit page paper parse path pdf pipe pixel
    plot proc proto quant quick radar rapid redis robot route rss rust safe scan screen secure
    sensor shape shop simple slack smart solar spark speed static str stream super svg swift sys
    table task tensor term text thread time tiny token tree turbo type ultra unit usb vault
    vector video vision voice wasm wave web whois wifi wire word work yaml zen zip
    """
)
COMPOUND_SUFFIXES = _words("utils tools lib kit helpers hub ware api py x box base lite plus works")

SYLLABLES = _words(
    """
    ba bli bo bra cro da dle dro fa fi flim fo ga gle gno gru ha ho ja ji jo ka kle kra lo lu ma
    mi mog na nib no nu pa pli po qua qui ra rin ro ru sha sni so sp squo ta thra ti tog tru va
    ve vo wa wib wo xa xi xo ya yo za zi zo zu zorb
    """
)

# Real names of other languages: the owner, a separator and some of its members.
OTHER_LANGUAGES = (
    (
        _words(
            """
    Array Object String Number Math JSON Promise Map Set document window console Date RegExp
    Reflect Symbol localStorage navigator fetch BigInt Intl
    """
        ),
        ".",
        _words(
            """
    forEach reduceRight findIndex flatMap includes charAt charCodeAt toUpperCase toFixed
    parseFloat stringify getElementById querySelector addEventListener allSettled hasOwn
    toISOString padStart isInteger fromEntries innerHTML createElement setTimeout toLowerCase
    lastIndexOf splice unshift concat localeCompare
    """
        ),
    ),
    (
        _words("fmt strings strconv bufio ioutil sync http bytes sort os time errors filepath"),
        ".",
        _words(
            """
    Println Sprintf ToUpper TrimSpace Atoi NewReader WaitGroup ListenAndServe HasPrefix Fields
    Contains NewScanner ReadAll Errorf Itoa ParseInt Repeat SliceStable WriteString
    """
        ),
    ),
    (
        _words("std::vector std::string std::map std::cout std::list std::set std::thread"),
        "::",
        _words(
            """
    push_back emplace_back c_str size erase begin find_first_of substr reserve capacity
    lower_bound resize insert_or_assign joinable
    """
        ),
    ),
    (
        _words("Vec String HashMap Option Result Iterator Box Rc"),
        "::",
        _words(
            """
    with_capacity push_str unwrap_or_else and_then into_iter or_insert expect drain retain
    as_ref map_err is_some trim_end_matches
    """
        ),
    ),
    (
        _words(
            """
    System.out Collections Arrays StringBuilder ArrayList HashMap Integer Files Optional Thread
    Scanner LocalDate Objects
    """
        ),
        ".",
        _words(
            """
    println asList parseInt nextLine containsKey putIfAbsent deleteCharAt unmodifiableList
    ofNullable binarySearch readAllLines compareTo toCharArray currentTimeMillis
    """
        ),
    ),
    (
        _words("Console Enumerable List Task DateTime Path Regex StringBuilder Dictionary"),
        ".",
        _words(
            """
    WriteLine Select FirstOrDefault TryGetValue ReadLine WhenAll AppendLine OrderBy ToList
    GetFileName TryParse AddDays
    """
        ),
    ),
    (
        _words("Enum String List Kernel Hash File Dir Time Struct"),
        ".",
        _words(
            """
    each_with_index gsub each_slice downcase! inject each_cons squeeze chunk_every to_sym
    map_join dig strftime
    """
        ),
    ),
    (
        _words("array str preg mb file date json mysqli"),
        "_",
        _words(
            """
    push replace match_all strlen put_contents merge_recursive split_all query key_exists
    decode_all fetch_assoc substr ireplace
    """
        ),
    ),
)
