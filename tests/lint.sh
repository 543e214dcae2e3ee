#!/bin/sh
#
# Style and structure rules that a machine can check.
# Part of libmagvit, LGPL-2.1-or-later, see LICENSE.
#
# usage: tests/lint.sh [FILE...]   paths from the root of the source tree; without
#                                  any: the whole tree and the commit subjects
#        tests/lint.sh --subject   one commit subject on standard input
#
# Prints file:line: what is wrong, and leaves with 1 if anything is.

export LC_ALL=C
cd "$(dirname "$0")/.." || exit 1

# One subject a line: "area: what is done", at most 72 characters, no full stop.
# What git itself writes (Merge, Revert, fixup!) passes.
check_subjects() {
    awk '
    /^(Merge|Revert|fixup!|squash!|amend!) / { next }
    length($0) > 72                          { print "commit subject longer than 72: " $0; bad = 1 }
    !/^[A-Za-z0-9_.\/,+-]+: [^ ]/            { print "commit subject is not \"area: text\": " $0; bad = 1 }
    /\.$/                                    { print "commit subject ends with a full stop: " $0; bad = 1 }
    END { exit bad }'
}

if test "$1" = --subject; then
    check_subjects
    exit
fi

list_files() {
    if test -e .git; then
        git ls-files --cached --others --exclude-standard
    else
        find . -path ./build -prune -o -type f -print | sed 's|^\./||'
    fi
}

# Text files that we write. LICENSE, patches and test references are others' text.
text_files() {
    while read -r file; do
        case $file in
        build/*|tests/fate/ref/*|*/__pycache__/*|config.h|config.mak) ;;
        *.c|*.h|*.glsl|*.py|*.sh|*.awk|*.md|*.toml|*.yml|*.pov|*.inc|*.texi|configure|*Makefile|.githooks/*|CHANGELOG)
            if test -f "$file" && ! test -L "$file"; then echo "$file"; fi ;;
        esac
    done
}

# Who may include what, written from the root of the tree; <...> is not looked
# at. A row: pattern of the including file, pattern of what it may include. The
# first row whose first pattern fits counts. See doc/ARCHITECTURE.md.
edges() {
    cat <<'END'
^libmagvit/magvit\.h$                            ^$
^libmagvit/((magvit|job)\.c|context\.h)$          ^(config\.h|libmagvit/.*\.h)$
^libmagvit/(common|safetensors)\.[ch]$           ^(config|libmagvit/(magvit|common|safetensors))\.h$
^libmagvit/plan\.[ch]$                           ^(config|libmagvit/(common|safetensors|plan))\.h$
^libmagvit/backend\.h$                           ^libmagvit/(common|plan|safetensors)\.h$
^libmagvit/((video|session)\.h|(ahead|image|cond|window|blend|blend_time|drift|flows|motion|memory|params|queue|render|scene|session|tiles)\.c)$  ^(config|libmagvit/(magvit|common|video|session))\.h$
^libmagvit/(model\.[ch]|(path|tokenizer|fill|transformer|sampler|draw)\.c)$  ^(config|libmagvit/(magvit|common|safetensors|plan|model))\.h$
^libmagvit/                                      ^$
^kernels/                                        ^(config|kernels/.*|libmagvit/(common|safetensors|plan|backend))\.h$
^tools/                                          ^(config|tools/.*|libmagvit/(magvit|video))\.h$
^tests/                                          ^(config|tests/.*|kernels/.*|libmagvit/.*|tools/.*)\.h$
^libavfilter-magvit/                             ^(magvit_(filter|hwframe|mask)\.h|ffcompat\.h|lib(avfilter|avutil|avcodec|avformat)/.*\.h)$
.                                                ^$
END
}

status=0
list=$(mktemp) && table=$(mktemp) || exit 1
trap 'rm -f "$list" "$table"' EXIT
if test $# -gt 0; then
    printf '%s\n' "$@"
else
    list_files
fi | text_files > "$list"
edges > "$table"

awk -v table="$table" '
function complain(text) { print FILENAME ":" FNR ": " text; bad = 1 }
function cap(limit)     { if (lines > limit) { print last ": " lines " lines, at most " limit; bad = 1 } }
function end_of_file() {
    if (last ~ /\.c$/)    cap(800)
    if (last ~ /\.glsl$/) cap(150)
    if (last == "configure") cap(500)
}
BEGIN {
    while ((getline row < table) > 0) {
        split(row, column, /  +/)
        from[++nb] = column[1]
        to[nb]     = column[2]
    }
}
FNR == 1 {
    end_of_file()
    last     = FILENAME
    is_c     = FILENAME ~ /\.[ch]$/
    is_code  = is_c || FILENAME ~ /\.(glsl|py|sh|awk)$|^configure$|^\.githooks\//
    for (allowed = 1; is_c && FILENAME !~ from[allowed]; allowed++)
        ;
}
{ lines = FNR }
is_code && /\t/                       { complain("tab") }
/[ \t\r]$/                            { complain("blank at the end of the line") }
is_c && /[^\t -~]/                    { complain("character outside ASCII") }
# invisible or direction-changing: U+00A0 00AD 200B-200F 202A-202E 2060-2069 FEFF, and controls
/\302\240|\302\255|\342\200[\213-\217\252-\256]|\342\201[\240-\251]|\357\273\277|[\001-\010\013\016-\037]/ {
    complain("invisible character")
}
is_c && /^[ \t]*#[ \t]*include[ \t]*"/ {
    name = $0
    sub(/^[^"]*"/, "", name)
    sub(/".*/, "", name)
    if (name !~ to[allowed])
        complain("may not include \"" name "\"")
}
END { end_of_file(); exit bad }' /dev/null $(cat "$list") || status=1

while read -r file; do
    if test -s "$file" && test -n "$(tail -c 1 "$file")"; then
        echo "$file: no newline at the end"
        status=1
    fi
done < "$list"

# The rule for subjects holds from the commit that brought this file.
if test $# -eq 0 && test -e .git; then
    first=$(git log --diff-filter=A --format=%H -- tests/lint.sh | tail -n 1)
    if test -n "$first"; then
        git log --no-merges --format=%s "$first..HEAD" | check_subjects || status=1
    fi
fi

exit $status
