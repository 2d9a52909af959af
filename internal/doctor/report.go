package doctor

import (
	"fmt"
	"slices"
	"strings"
)

// Level says what a finding means.
type Level string

// The levels.
const (
	// OK is as docs/security.md has it.
	OK Level = "ok"
	// Warn is a decision of somebody that widens what Cairn or others can do, or narrows what protects: look whether it
	// was meant.
	Warn Level = "warn"
	// Fail deviates from docs/security.md, or could not be read.
	Fail Level = "fail"
)

// Finding is one line of the report.
type Finding struct {
	Level Level  `json:"level"`
	Text  string `json:"text"`
	// Of are the objects or namespaces that it is about, if these are many.
	Of []string `json:"of,omitempty"`
	// See is the page that says more.
	See string `json:"see,omitempty"`
}

// shown is how many names a line has.
const shown = 8

// Line returns a finding as one line, with the first of its names.
func (f Finding) Line() string {
	line := f.Text
	if len(f.Of) > 0 {
		line += ": " + strings.Join(f.Of[:min(shown, len(f.Of))], ", ")
		if more := len(f.Of) - shown; more > 0 {
			line += fmt.Sprintf(" and %d more", more)
		}
	}
	if f.See != "" {
		line += " (" + f.See + ")"
	}
	return string(f.Level) + " " + line
}

// Section is a part of the report.
type Section struct {
	Name     string    `json:"name"`
	Findings []Finding `json:"findings"`
}

// Report is the whole answer.
type Report struct {
	Sections []Section `json:"sections"`
}

// Count returns how many findings have a level.
func (r Report) Count(level Level) (n int) {
	for _, s := range r.Sections {
		for _, f := range s.Findings {
			if f.Level == level {
				n++
			}
		}
	}
	return n
}

// The sections of docs/security.md that findings name.
const (
	seeWho       = "docs/security.md#who-can-do-what"
	seeGit       = "docs/security.md#policy-from-git"
	seeOthers    = "docs/security.md#other-namespaces"
	seeDefaults  = "docs/security.md#defaults-directories-and-storages"
	seeOrders    = "docs/security.md#orders-results-and-reports"
	seeLedgers   = "docs/security.md#ledgers"
	seeForeign   = "docs/security.md#foreign-code"
	seeNetwork   = "docs/security.md#the-network"
	seeRights    = "docs/security.md#the-managers-rights"
	seeRest      = "docs/security.md#the-rest"
	seeSignature = "docs/security.md#verified-policy"
	seeLeft      = "docs/security.md#what-is-left"
)

func (s *Section) ok(format string, args ...any) { s.add(OK, "", nil, format, args...) }

func (s *Section) warn(see, format string, args ...any) { s.add(Warn, see, nil, format, args...) }

func (s *Section) fail(see, format string, args ...any) { s.add(Fail, see, nil, format, args...) }

// add adds a finding about several objects, whose names it sorts.
func (s *Section) add(level Level, see string, of []string, format string, args ...any) {
	of = slices.Clone(of)
	slices.Sort(of)
	s.Findings = append(s.Findings, Finding{
		Level: level, Text: fmt.Sprintf(format, args...), Of: slices.Compact(of), See: see,
	})
}

// list adds a finding if there is any object.
func (s *Section) list(level Level, see string, of []string, format string, args ...any) {
	if len(of) > 0 {
		s.add(level, see, of, format, args...)
	}
}
