# What the patches bring into an FFmpeg tree besides the filters: sections of
# its documentation, and tests of its own kind. Read by run.sh.
# Part of libmagvit, LGPL-2.1-or-later, see LICENSE.

# section NAME: the lines of one section of FFmpeg's documentation
section() {
    cat patches/filters.texi patches/sources.texi |
        awk -v name="$1" '/^@(sub)?section / { in_it = $0 ~ "^@(sub)?section " name "$" } in_it'
}

test_documented() {
    section "Common MAGVIT options" > "$tmp/common"
    [ -s "$tmp/common" ] || note "no common options" || return 1
    for filter in magvit_inpaint magvit_interp magvit_outpaint magvit_predict magvit_src; do
        "$FFMPEG" -hide_banner -h filter=$filter 2> /dev/null | sed -n 's/^   *\([a-z_]*\)  *<.*/\1/p' | sort -u > "$tmp/options"
        [ "$(lines "$tmp/options")" -ge 15 ] || note "$filter has $(lines "$tmp/options") options" || return 1
        section $filter > "$tmp/own"
        sed -n 's/^@item //p' "$tmp/own" "$tmp/common" | tr -d ' ' | tr ',' '\n' > "$tmp/items"
        # the tables of the common options and of the filter itself
        awk -v name=$filter '/^## / { in_it = $2 == name || $2 == "Common" } in_it && /^\| `/' doc/FILTERS.md |
            sed 's/^| \([^|]*\)|.*/\1/' | tr -d '` ' | tr ',' '\n' > "$tmp/rows"
        while read -r option; do
            grep -qx "$option" "$tmp/items" || note "patches/*.texi: no option $option of $filter" || return 1
            case $option in width|height) continue ;; esac # long names of w and h
            grep -qx "$option" "$tmp/rows" || note "doc/FILTERS.md: no option $option of $filter" || return 1
        done < "$tmp/options"
        # what is not one of its options is a value or a constant of a table inside of a table, or a mistake
        awk '/^@table @option/ { depth++; first = !seen++ } /^@table @samp/ { depth++ } /^@end table/ { depth-- }
             /^@item / && depth == 1 && first { print; } /^@end table/ && !depth { first = 0 }' "$tmp/own" |
            sed 's/^@item //' | tr -d ' ' | tr ',' '\n' > "$tmp/own_items"
        while read -r option; do
            grep -qx "$option" "$tmp/options" || note "patches/*.texi: $filter has no option $option" || return 1
        done < "$tmp/own_items"
    done
}

# run_commands: those of the file commands, as of a document; each writes out.mkv
run_commands() {
    model=$PWD/$tiny
    mkdir "$tmp/bin" && ln -s "$FFMPEG" "$tmp/bin/ffmpeg" || return 1
    while read -r command; do
        rm -f "$tmp/out.mkv"
        (cd "$tmp" && PATH=$tmp/bin:$PATH MAGVIT_MODEL_PATH=$model timeout 300 sh -c "$command" < /dev/null > err 2>&1) ||
            note "$command: $(tail -n 3 "$tmp/err")" || return 1
        [ -s "$tmp/out.mkv" ] || note "$command: nothing was written" || return 1
    done < "$tmp/commands"
}

test_texi_examples() {
    ff -f lavfi -i "$(source 160x120 24 6 yuv420p)" -c:v mpeg4 "$tmp/in.mp4" &&
    ff -f lavfi -i "$(source 160x120 24 6 gray)" -c:v ffv1 "$tmp/mask.mkv" &&
    ff -f lavfi -i "$(source 160x120 24 1 gray)" "$tmp/logo.png" || return 1
    awk '/^@end example/ { on = 0 } on; /^@example/ { on = 1 }' patches/filters.texi patches/sources.texi |
        sed 's/^\(magvit\|metadata\).*/ffmpeg -i INPUT -vf "&" OUTPUT/; s/ INPUT / in.mp4 /; s/ MASK / mask.mkv /; s/ OUTPUT$/ out.mkv/' > "$tmp/commands"
    [ "$(lines "$tmp/commands")" = "$(cat patches/filters.texi patches/sources.texi | grep -c '^@example')" ] || note "an example of several lines" || return 1
    run_commands
}

# the tests that fate.patch adds to FFmpeg's own, in the folder where it was built
test_tree() {
    built=$(dirname "$FFMPEG")
    [ -f "$built/ffbuild/config.mak" ] || return 0 # a program without its build folder
    (unset MAKEFLAGS MFLAGS MAKELEVEL GEN V SAMPLES FATE_SAMPLES; make -k -C "$built" fate-filter-magvit) > "$tmp/log" 2>&1 ||
        note "$(tail -n 20 "$tmp/log")" || return 1
    grep 'TEST  *filter-magvit' "$tmp/log" > "$tmp/ran"
    count "fate-filter-magvit, tests" 9 "$tmp/ran"
}
