package command

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Table consists of rows of cells below a header, with notes below rows.
type Table struct {
	Header []string
	Rows   []row
	// Optional lists the columns that are left out if they are empty in every row.
	Optional []string
}

type row struct {
	cells []string
	notes []string
}

// Add appends a row.
func (t *Table) Add(cells ...string) {
	for i := range cells {
		cells[i] = printable(cells[i])
	}
	t.Rows = append(t.Rows, row{cells: cells})
}

// Note adds a note below the last row. It ignores an empty text.
func (t *Table) Note(text string) {
	if text = OneLine(text); text != "" {
		last := &t.Rows[len(t.Rows)-1]
		last.notes = append(last.notes, text)
	}
}

const columnGap = "  "

// Write prints the table. It wraps notes to width, but not rows: a wrapped row is unreadable.
func (t *Table) Write(out io.Writer, width int) error {
	t.dropEmpty()
	widths := make([]int, len(t.Header))
	for i, cell := range t.Header {
		widths[i] = utf8.RuneCountInString(cell)
	}
	for _, r := range t.Rows {
		for i, cell := range r.cells {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	line := func(cells []string) {
		var l strings.Builder
		for i, cell := range cells {
			l.WriteString(cell + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)) + columnGap)
		}
		b.WriteString(strings.TrimRight(l.String(), " ") + "\n")
	}
	line(t.Header)
	for _, r := range t.Rows {
		line(r.cells)
		for _, n := range r.notes {
			b.WriteString(wrap(n, width, "    "))
		}
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func (t *Table) dropEmpty() {
	for i := len(t.Header) - 1; i >= 0; i-- {
		if !slices.Contains(t.Optional, t.Header[i]) ||
			slices.ContainsFunc(t.Rows, func(r row) bool { return r.cells[i] != "" && r.cells[i] != None }) {
			continue
		}
		t.Header = slices.Delete(slices.Clone(t.Header), i, i+1)
		for j := range t.Rows {
			t.Rows[j].cells = slices.Delete(slices.Clone(t.Rows[j].cells), i, i+1)
		}
	}
}

// minWrap keeps notes readable in a very narrow terminal.
const minWrap = 40

// wrap breaks a text between words into lines that start with indent. It never cuts a word.
func wrap(text string, width int, indent string) string {
	width = max(width, minWrap)
	var b strings.Builder
	line := indent
	for _, word := range strings.Fields(text) {
		if line != indent && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			fmt.Fprintln(&b, line)
			line = indent
		}
		if line != indent {
			line += " "
		}
		line += word
	}
	fmt.Fprintln(&b, line)
	return b.String()
}
