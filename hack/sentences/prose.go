package main

import (
	"path"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// line is a line of prose. An empty one ends a paragraph.
type line struct {
	number int
	text   string
}

var (
	// item begins an entry of a list.
	item = regexp.MustCompile(`^\s*([-*]|\d+\.)\s+`)
	// sample is a line of YAML in a message.
	sample = regexp.MustCompile(`^(- |---|[\w./-]+:( |$))`)
	// shortened are the words whose full stop ends no sentence.
	shortened = regexp.MustCompile(`(?i)(^|[\s(])(e\.g|i\.e|etc|cf|vs|no)\.$`)
)

// prose returns the sentences of a Markdown file: no code, no table, no heading.
func prose(file string, content []byte) []sentence {
	if path.Ext(file) != ".md" {
		return nil
	}
	var lines []line
	fence := ""
	list := false
	for i, raw := range strings.Split(string(content), "\n") {
		text := strings.TrimSpace(raw)
		switch {
		case fence != "":
			if strings.HasPrefix(text, fence) {
				fence = ""
			}
			text = ""
		case strings.HasPrefix(text, "```") || strings.HasPrefix(text, "~~~"):
			fence, text = text[:3], ""
		case strings.HasPrefix(text, "#"), strings.HasPrefix(text, "|"), strings.HasPrefix(text, "<!--"):
			text = ""
		case item.MatchString(text):
			lines = append(lines, line{i + 1, ""})
			text, list = item.ReplaceAllString(text, ""), true
		case strings.HasPrefix(raw, "    ") && !list:
			text = "" // indented code
		case raw == text && (len(lines) == 0 || lines[len(lines)-1].text == ""):
			list = false
		}
		lines = append(lines, line{i + 1, text})
	}
	return sentences(file, lines)
}

// sentences cuts paragraphs into sentences of at least three words.
func sentences(file string, lines []line) []sentence {
	var out []sentence
	var text []string
	first := 0
	end := func() {
		joined := strings.Join(text, " ")
		if words(joined) > 2 {
			out = append(out, sentence{file, first, joined})
		}
		text = nil
	}
	for _, l := range lines {
		if l.text == "" {
			end()
			continue
		}
		if begins := item.FindString(l.text); begins != "" {
			end()
			l.text = l.text[len(begins):]
		}
		for _, word := range strings.Fields(l.text) {
			if len(text) > 0 && ends(text[len(text)-1]) && starts(word) {
				end()
			}
			if len(text) == 0 {
				first = l.number
			}
			text = append(text, word)
		}
	}
	end()
	return out
}

// ends reports whether a word can be the last of a sentence.
func ends(word string) bool {
	if shortened.MatchString(word) {
		return false
	}
	last, _ := utf8.DecodeLastRuneInString(strings.TrimRight(word, "`\"')*_”"))
	return strings.ContainsRune(".!?", last)
}

// starts reports whether a word can be the first of a sentence.
func starts(word string) bool {
	first, _ := utf8.DecodeRuneInString(strings.TrimLeft(word, "`\"'(*_[“"))
	return !unicode.IsLower(first) || strings.ContainsAny(word[:1], "`\"*[")
}

// words counts the words with at least two letters.
func words(text string) int {
	n := 0
	for _, field := range strings.Fields(text) {
		letters := 0
		for _, r := range field {
			if unicode.IsLetter(r) {
				letters++
			}
		}
		if letters >= 2 || field == "a" || field == "I" {
			n++
		}
	}
	return n
}
