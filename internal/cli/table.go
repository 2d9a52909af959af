package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// table consists of rows of cells below a header, with notes below rows.
type table struct {
	header []string
	rows   []row
	// optional lists the columns that are left out if they are empty in every row.
	optional []string
}

type row struct {
	cells []string
	notes []string
}

// add appends a row.
func (t *table) add(cells ...string) {
	for i := range cells {
		cells[i] = printable(cells[i])
	}
	t.rows = append(t.rows, row{cells: cells})
}

// note adds a note below the last row. It ignores an empty text.
func (t *table) note(text string) {
	if text = oneLine(text); text != "" {
		last := &t.rows[len(t.rows)-1]
		last.notes = append(last.notes, text)
	}
}

const columnGap = "  "

// write prints the table. It wraps notes to width, but not rows: a wrapped row is unreadable.
func (t *table) write(out io.Writer, width int) error {
	t.dropEmpty()
	widths := make([]int, len(t.header))
	for i, cell := range t.header {
		widths[i] = utf8.RuneCountInString(cell)
	}
	for _, r := range t.rows {
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
	line(t.header)
	for _, r := range t.rows {
		line(r.cells)
		for _, n := range r.notes {
			b.WriteString(wrap(n, width, "    "))
		}
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func (t *table) dropEmpty() {
	for i := len(t.header) - 1; i >= 0; i-- {
		if !slices.Contains(t.optional, t.header[i]) ||
			slices.ContainsFunc(t.rows, func(r row) bool { return r.cells[i] != "" && r.cells[i] != none }) {
			continue
		}
		t.header = slices.Delete(slices.Clone(t.header), i, i+1)
		for j := range t.rows {
			t.rows[j].cells = slices.Delete(slices.Clone(t.rows[j].cells), i, i+1)
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
