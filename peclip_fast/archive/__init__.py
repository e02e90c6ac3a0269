"""Archives: more videos than one sitting, on one machine or on many."""
