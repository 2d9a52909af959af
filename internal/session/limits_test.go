package session

import (
	"fmt"
	"os"
	"testing"

	. "github.com/onsi/gomega"
)

// What the page of limits says of the volumes of a target is what is in force.
func TestLimitsOfVolumesAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/reference/limits.md")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	for what, limit := range map[string]any{
		"pods or nodes of a target, one Job each":                                 maxHosts,
		"volumes that one Job mounts, and claims that one Job of a restore makes": maxVolumes,
		"VolumeSnapshots that one Job makes":                                      maxSnapshots,
		"time until a temporary VolumeSnapshot of `copyMethod` can be used":       snapshotLimit,
		"time until a temporary volume of `copyMethod` is there":                  claimLimit,
	} {
		NewWithT(t).Expect(string(page)).To(ContainSubstring(fmt.Sprintf("| %s | %v |", what, limit)))
	}
}
