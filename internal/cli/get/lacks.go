package get

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Lacks returns what a run lacks that succeeded, or "": the message of its method Lack.
func Lacks(lack *metav1.Condition) string {
	if lack == nil {
		return ""
	}
	return lack.Message
}
