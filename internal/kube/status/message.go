package status

import (
	"regexp"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/internal/text"
)

const (
	// wordsInterval limits how often a condition gets new words for the same problem.
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
	if OldWords(is, now) {
		return message
	}
	if len(strings.Join(texts, "; ")) > text.MaxMessage {
		patterns, end = patterns[:fixed], "" // what is cut off cannot be compared
	}
	if same, err := regexp.MatchString("(?s)^"+strings.Join(patterns, "; ")+end, is.Message); err == nil && same {
		return is.Message
	}
	return message
}

// OldWords reports whether the words of a condition can be replaced by new ones for the same problem. Each such write
// triggers a reconcile, which can find new words: so they stay for a while. Words of the future, which a manager whose
// clock was ahead has written, count as old.
func OldWords(is *metav1.Condition, now time.Time) bool {
	age := now.Sub(is.LastTransitionTime.Time)
	return age >= wordsInterval || age < 0
}

// Says reports whether a condition of an object is false because of a problem, in words that are not old: then new
// words alone are no reason to write it again.
func Says(o conditions.Getter, condition, reason string, p Problem, now time.Time) bool {
	is := conditions.Get(o, condition)
	return is != nil && is.Status == metav1.ConditionFalse && is.Reason == reason &&
		strings.HasPrefix(is.Message, p.Text) && !OldWords(is, now)
}
