"""
Statements and trial balances as files: what is in them (`statements`, `trial_balances`), how it is written (`as_csv`,
`as_xlsx`), and how a request for one is answered (`answers`, also for the files of the apps above).
"""
