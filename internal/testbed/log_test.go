package testbed

import (
	"testing"

	. "github.com/onsi/gomega"
)

// The rule holds for all lines, also for those that the tests do not print.
func TestNoPhraseIsAReason(t *testing.T) {
	for name, tt := range map[string]struct {
		level  int
		values []any
		wrong  bool
	}{
		"a reason":                         {0, []any{"reason", "Unreachable"}, false},
		"no reason yet":                    {0, []any{"reason", ""}, false},
		"reasons":                          {0, []any{"reasons", []string{"Deleted", "Evicted"}}, false},
		"no reasons":                       {0, []any{"reasons", []string{}}, false},
		"a phrase":                         {0, []any{"reason", "the Job of the mover still runs"}, true},
		"a word that is no reason":         {0, []any{"reason", "forbidden"}, true},
		"a phrase in a line for debugging": {1, []any{"reason", "the Job still runs"}, true},
		"reasons in one string":            {0, []any{"reason", "Deleted,Evicted"}, true},
		"reasons in one string of a list":  {0, []any{"reasons", []string{"Deleted,Evicted"}}, true},
		"a phrase among reasons":           {0, []any{"reasons", []string{"Deleted", "somebody said so"}}, true},
		"a phrase under why":               {0, []any{"why", "the Job still runs"}, false},
		"the second of two":                {0, []any{"reason", "Unreachable", "reason", "it is down"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			o := &logOutput{}
			o.logger().V(tt.level).Info("waits", tt.values...)
			if tt.wrong {
				g.Expect(o.wrong()).To(HaveLen(1))
			} else {
				g.Expect(o.wrong()).To(BeEmpty())
			}
		})
	}
}
