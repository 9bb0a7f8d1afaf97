"""Tasks that workers perform while Airflow holds nothing."""
