package build

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy/check"
	"github.com/cairn-backup/cairn/internal/text"
)

// Error holds everything that is wrong with a directory.
type Error struct {
	// Findings has at least one and at most 1,000 findings, in the order of files, documents and lines.
	Findings []check.Finding
	// More is the number of findings that were left out.
	More int
}

// Error returns the first finding and the number of the others. It is the same for the same directory.
func (e *Error) Error() string {
	text := Format(e.Findings[0])
	if more := len(e.Findings) - 1 + e.More; more > 0 {
		text += fmt.Sprintf(" (and %d more)", more)
	}
	return text
}

// Reason returns InvalidPath, BuildFailed or ValidationFailed, depending on the first finding, whose own reason can
// be more precise.
func (e *Error) Reason() string {
	switch reason := e.Findings[0].Reason; reason {
	case v1alpha1.ReasonInvalidPath, v1alpha1.ReasonBuildFailed:
		return reason
	}
	return v1alpha1.ReasonValidationFailed
}

// Format formats a finding as "<file>:<line>: document <n>: <field>: <message>", without the parts that are not
// known.
func Format(f check.Finding) string {
	var parts []string
	if f.File != "" {
		at := f.File
		if f.Line > 0 {
			at += ":" + strconv.Itoa(f.Line)
		}
		parts = append(parts, at)
	}
	if f.Document > 0 {
		parts = append(parts, fmt.Sprintf("document %d", f.Document))
	}
	if f.Field != "" {
		parts = append(parts, f.Field)
	}
	return strings.Join(append(parts, f.Message), ": ")
}

func (b *builder) report(reason, file string, document, line int, field, format string, args ...any) {
	b.add(check.Finding{
		Severity: check.SeverityError, Reason: reason, File: b.show(file), Document: document, Line: line, Field: field,
		Message: fmt.Sprintf(format, args...),
	})
}

func (b *builder) show(file string) string {
	if b.opts.Show == nil {
		return file
	}
	return b.opts.Show(file)
}

func (b *builder) add(f check.Finding) {
	if len(b.findings) >= maxFindings { // a file can hold as many mistakes as values
		b.dropped++
		return
	}
	// they can repeat the content of a file
	f.Field, f.Message = text.Cut(f.Field, maxText), text.Cut(f.Message, maxText)
	b.findings = append(b.findings, f)
}

// mistakes returns the number of findings so far.
func (b *builder) mistakes() int { return len(b.findings) + b.dropped }

// outcome sorts the findings and separates errors from warnings.
func (b *builder) outcome() (warnings []check.Finding, err error) {
	slices.SortStableFunc(b.findings, func(x, y check.Finding) int {
		return cmp.Or(cmp.Compare(x.File, y.File), cmp.Compare(x.Document, y.Document), cmp.Compare(x.Line, y.Line),
			cmp.Compare(x.Field, y.Field), cmp.Compare(x.Message, y.Message))
	})
	b.findings = slices.Compact(b.findings)
	var errors []check.Finding
	for _, f := range b.findings {
		if f.Severity == check.SeverityError {
			errors = append(errors, f)
		} else {
			warnings = append(warnings, f)
		}
	}
	if len(errors) > 0 {
		return nil, &Error{Findings: errors, More: b.dropped}
	}
	return warnings, nil
}
