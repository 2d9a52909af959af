package mover

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// A reader can read again after an error and after the end, and must not wait forever.
func TestACheckAnswersAgain(t *testing.T) {
	const whole = "REDIS0011\xff\x00\x00\x00\x00\x00\x00\x00\x00"
	for name, tt := range map[string]struct {
		dump string
		well bool
	}{"a whole dump": {whole, true}, "half a dump": {whole[:12], false}} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			c := checkFor(v1alpha1.StreamFilterRedisCommands)
			g.Expect(c.see([]byte(tt.dump), false)).To(BeNil())
			first := c.see(nil, true)
			g.Expect(first == nil).To(Equal(tt.well))
			g.Expect(c.see(nil, true)).To(Equal(first))
			g.Expect(c.see([]byte("more"), false)).To(Equal(first))
		})
	}
}
