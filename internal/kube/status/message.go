package status

import (
	"regexp"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"

	"github.com/cairn-backup/cairn/internal/text"
)

const (
	// wordsInterval limits how often the message of Ready gets new words of the API server for the same problem.
	wordsInterval = 10 * time.Minute
	// maxWords is how much of these words a message holds.
	maxWords = 300
)

// Problem is one reason why an object is not ready. Words follow Text: those of the API server, which can differ at
// each try.
type Problem struct{ Text, Words string }

// Message joins problems to the message of Ready. If only words differ from the message that Ready has, that one stays
// for a while: each write triggers a reconcile, which can find new words. The problems with words come first.
func Message(o conditions.Getter, problems []Problem, now time.Time) string {
	texts, patterns, fixed := make([]string, len(problems)), make([]string, len(problems)), 0
	for i, p := range problems {
		texts[i], patterns[i] = p.Text+text.Cut(p.Words, maxWords), regexp.QuoteMeta(p.Text)
		if p.Words != "" {
			patterns[i], fixed = patterns[i]+".*", i+1
		}
	}
	message, end := text.Join(texts), "$"
	is := conditions.Get(o, meta.ReadyCondition)
	if is == nil || fixed == 0 {
		return message
	}
	if age := now.Sub(is.LastTransitionTime.Time); age >= wordsInterval || age < 0 {
		return message // also what a manager whose clock was ahead has written
	}
	if len(strings.Join(texts, "; ")) > text.MaxMessage {
		patterns, end = patterns[:fixed], "" // what is cut off cannot be compared
	}
	if same, err := regexp.MatchString("(?s)^"+strings.Join(patterns, "; ")+end, is.Message); err == nil && same {
		return is.Message
	}
	return message
}
