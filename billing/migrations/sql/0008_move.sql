-- What one column said so far, said by rows of their own. Nothing that was rated, paid or promised changes by it.

ALTER TABLE billing_rate DISABLE TRIGGER billing_rate_append_only;
UPDATE billing_rate SET dimensions = jsonb_build_object('model', model);
ALTER TABLE billing_rate ENABLE TRIGGER billing_rate_append_only;

INSERT INTO billing_allowance
       (plan_version_id, position, code, name, measure, amount, is_per_seat, each_dimension, covers, at_plan_change)
SELECT id, 1, 'included', 'Included usage', 'money', included_amount, true, '', '[]', 'prorate'
  FROM billing_planversion WHERE included_amount > 0;

INSERT INTO billing_periodallowance (period_id, position, code, name, measure, amount, each_dimension, covers)
SELECT p.id, 1, 'included', 'Included usage', 'money', p.allowance, '', '[]'
  FROM billing_billingperiod p
 WHERE p.allowance > 0
    OR EXISTS (SELECT FROM billing_usageaccrual a JOIN billing_usageaccrualline l ON l.accrual_id = a.id
                WHERE a.period_id = p.id AND l.included <> 0);

INSERT INTO billing_allowancedrawdown (accrual_id, rate_id, allowance_id, amount, quantity)
SELECT l.accrual_id, l.rate_id, allowance.id, l.included, 0
  FROM billing_usageaccrualline l
  JOIN billing_usageaccrual a ON a.id = l.accrual_id
  JOIN billing_periodallowance allowance ON allowance.period_id = a.period_id
 WHERE l.included <> 0;

-- Rows checked now, so that the tables can be altered further in this transaction.
SET CONSTRAINTS ALL IMMEDIATE;
