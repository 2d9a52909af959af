package failure_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/mover/failure"
)

func TestAdviceOfAFailedProgram(t *testing.T) {
	t.Parallel()
	const depends = "ERROR:  cannot drop constraint p on table items because other objects depend on it"
	for says, advice := range map[string]string{
		"pg_restore ended with exit code 1: ERROR:  relation x does not exist":    "",
		depends + "; HINT:  Use DROP ... CASCADE":                                 "restore without confirm",
		"FEHLER: kein Shared Memory; TIPP: max_locks_per_transaction":             "to 1024, and restart it",
		"ERROR 1153 (08S01): Got a packet bigger than 'max_allowed_packet' bytes": "to 1G at most",
		"Error 2020: Got packet bigger than 'max_allowed_packet' bytes, row: 0":   "",
	} {
		g, got := NewWithT(t), failure.Advise(says)
		g.Expect(got).To(And(HavePrefix(says), ContainSubstring(advice)))
		g.Expect(got == says).To(Equal(advice == ""), says)
	}
}
