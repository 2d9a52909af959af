package v1alpha1

import "testing"

func TestConsentsToRecords(t *testing.T) {
	t.Parallel()
	const ledgers = "backup"
	for name, tt := range map[string]struct {
		labels map[string]string
		want   bool
	}{
		"no labels":                {nil, false},
		"consent":                  {map[string]string{"recorded-by.backup.cairn.dev/backup": "true"}, true},
		"another value":            {map[string]string{"recorded-by.backup.cairn.dev/backup": "True"}, false},
		"consent to other Ledgers": {map[string]string{"recorded-by.backup.cairn.dev/ops": "true"}, false},
		"consent to several Ledgers": {
			map[string]string{
				"recorded-by.backup.cairn.dev/ops": "true", "recorded-by.backup.cairn.dev/backup": "true",
			},
			true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := ConsentsToRecords(tt.labels, ledgers); got != tt.want {
				t.Errorf("got %t, want %t", got, tt.want)
			}
		})
	}
}
